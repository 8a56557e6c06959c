"""Choosing budgets on curves of quality against tokens: searches, overflow shares, calibration.

Nothing here knows pictures or models: a curve is anything that has the quality of row i at k tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

CALIBRATION_STEPS = 40

Sizes = Callable[[Float[Tensor, "b k c"] | Integer[Tensor, "b k"]], Float[Tensor, "b k"]]
"""Tokens of pictures to the bytes that the first 1 to k of each take, as ``textok.codec.coded_sizes`` counts them."""


@runtime_checkable
class Curves(Protocol):
    """Quality against budget for some pictures."""

    def __len__(self) -> int: ...

    def at(self, rows: Int[Tensor, "r"], budgets: Int[Tensor, "r"]) -> Float[Tensor, "r"]:
        """Quality of these pictures, each at its own budget; a picture may come several times."""


@dataclass(frozen=True, eq=False)
class KnownCurves:
    """Curves in a table: one row per picture, column j is the quality at ``first + j`` tokens."""

    quality: Float[Tensor, "b n"]
    first: int = 1

    def __len__(self) -> int:
        return len(self.quality)

    def at(self, rows: Int[Tensor, "r"], budgets: Int[Tensor, "r"]) -> Float[Tensor, "r"]:
        """See :class:`Curves`."""
        return self.quality[rows, budgets - self.first]


@dataclass(frozen=True, eq=False)
class DropCurves:
    """How far each picture's quality is below its own at ``budget`` tokens; less is better."""

    curves: Curves
    budget: int
    lower_is_better: bool
    """whether less of the quality is better"""

    @cached_property
    def best(self) -> Float[Tensor, "b"]:
        """Quality of each picture at the budget."""
        rows = torch.arange(len(self.curves))
        return self.curves.at(rows, torch.full_like(rows, self.budget)).double()

    def __len__(self) -> int:
        return len(self.curves)

    def at(self, rows: Int[Tensor, "r"], budgets: Int[Tensor, "r"]) -> Float[Tensor, "r"]:
        """See :class:`Curves`."""
        drop = self.best[rows] - self.curves.at(rows, budgets).double()
        return -drop if self.lower_is_better else drop

    def quality(self, drops: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """The quality of each picture at its drop."""
        return self.best + drops if self.lower_is_better else self.best - drops


@dataclass(frozen=True)
class Goal:
    """The quality to reach: at least ``threshold``, or at most that of a distance or a drop."""

    threshold: float
    lower_is_better: bool = False

    def reached(self, quality: Float[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """Where the quality reaches the goal."""
        quality = quality.double()  # else the threshold would be rounded to the type of the quality
        return quality <= self.threshold if self.lower_is_better else quality >= self.threshold


@dataclass(frozen=True, eq=False)
class Choice:
    """Budgets of r pictures, the quality at each, and whether it reaches the goal."""

    budgets: Int[Tensor, "r"]
    quality: Float[Tensor, "r"]
    reached: Bool[Tensor, "r"]

    @classmethod
    def concat(cls, parts: Sequence["Choice"]) -> "Choice":
        """The choices of several batches, one after another."""
        columns = zip(*((one.budgets, one.quality, one.reached) for one in parts), strict=True)
        return cls(*map(torch.cat, columns))


Search = Callable[..., Choice]
"""Of curves, rows, ``low``, ``high`` and a goal: for each row the fewest tokens that reach the goal, else ``high``."""


def measure_all(curves: Curves, rows: Int[Tensor, "r"], *, low: int, high: int) -> Float[Tensor, "r n"]:
    """Quality of the rows at every budget from low to high."""
    return torch.stack([curves.at(rows, torch.full_like(rows, k)) for k in range(low, high + 1)], dim=1)


def exhaustive(curves: Curves, rows: Int[Tensor, "r"], *, low: int, high: int, goal: Goal) -> Choice:
    """Search that tries every budget: the oracle, whatever shape the curve has."""
    table = measure_all(curves, rows, low=low, high=high)  # (r n)
    enough = goal.reached(table)
    reached = enough.any(dim=1)
    place = torch.where(reached, enough.int().argmax(dim=1), high - low)  # argmax: the first of equals
    return Choice(low + place, table.gather(1, place[:, None])[:, 0], reached)


def bisection(curves: Curves, rows: Int[Tensor, "r"], *, low: int, high: int, goal: Goal) -> Choice:
    """Search in at most ceil(log2(n + 1)) tries for each picture over n budgets; exact where quality only rises."""
    least, most = torch.full_like(rows, low), torch.full_like(rows, high + 1)  # high + 1: none is enough
    quality = torch.full(rows.shape, torch.nan, dtype=torch.float64, device=rows.device)
    while bool((open_ := least < most).any()):
        middle = (least + most)[open_] // 2
        measured = curves.at(rows[open_], middle).double()
        enough = goal.reached(measured)
        quality[open_] = torch.where(enough | (middle == high), measured, quality[open_])
        most[open_] = torch.where(enough, middle, most[open_])
        least[open_] = torch.where(enough, least[open_], middle + 1)
    return Choice(least.clamp(max=high), quality, least <= high)


class Allowance:
    """Which pictures may have more than ``high`` tokens: at no time more than a share of those that came so far.

    Pictures are taken in the order in which they come, so that batches change nothing.
    """

    def __init__(self, share: float, *, seen: int = 0, used: int = 0) -> None:
        self.share, self.seen, self.used = share, seen, used

    def grant(self, asks: Bool[Tensor, "b"]) -> Bool[Tensor, "b"]:
        """Which of the next b pictures may, among those that ask."""
        grants = []
        for is_asked in asks.tolist():
            self.seen += 1
            allowed = is_asked and self.used + 1 <= self.share * self.seen + 1e-9
            self.used += allowed
            grants.append(allowed)
        return torch.tensor(grants, dtype=torch.bool, device=asks.device)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Fewest and most tokens of a picture, and the most for those few that may overflow."""

    low: int
    high: int
    overflow: int


def choose(curves: Curves, goal: Goal, bounds: Bounds, *, search: Search, allowance: Allowance) -> Choice:
    """Budgets of the next pictures: within the bounds, or more where that reaches the goal and is allowed."""
    low, high = bounds.low, bounds.high
    within = search(curves, torch.arange(len(curves)), low=low, high=high, goal=goal)
    asks = torch.zeros_like(within.reached)
    failed = (~within.reached).nonzero()[:, 0]
    if bounds.overflow == high or allowance.share == 0 or not len(failed):
        allowance.seen += len(asks)
        return within
    further = search(curves, failed, low=high + 1, high=bounds.overflow, goal=goal)
    asks[failed] = further.reached
    grants = allowance.grant(asks)
    allowed, rows = grants[failed], failed[grants[failed]]
    return Choice(
        within.budgets.index_copy(0, rows, further.budgets[allowed]),
        within.quality.index_copy(0, rows, further.quality[allowed].to(within.quality.dtype)),
        within.reached | grants,
    )


# --- calibration on a sample --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A threshold of quality or drop, and the mean that it gives on a sample of pictures.

    ``mean`` is of tokens or of bytes, ``mean_tokens`` always of tokens. Many other pictures of the same kind have a
    mean within twice the standard error 19 times in 20.
    """

    threshold: float
    mean: float
    standard_error: float
    mean_tokens: float
    pictures: int


def calibrate(
    curves: KnownCurves,
    bounds: Bounds,
    *,
    mean: float,
    lower_is_better: bool,
    search: Search,
    share: float = 0.0,
    costs: KnownCurves | None = None,
) -> Calibration:
    """The threshold whose budgets have this mean over the sample, as nearly as its pictures allow.

    A ``share`` of the pictures may have more than ``bounds.high`` tokens. ``costs`` are what each budget costs each
    picture, such as bytes; more for more tokens. None counts tokens.
    """
    if len(curves) < 2 or not bool(torch.isfinite(curves.quality).all()):
        raise ValueError(f"calibration: got {len(curves)} pictures, expected at least 2 of finite quality")

    def budgets_at(threshold: float) -> Int[Tensor, "b"]:
        goal = Goal(threshold, lower_is_better)
        return choose(curves, goal, bounds, search=search, allowance=Allowance(share)).budgets

    def costs_of(budgets: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
        return (budgets if costs is None else costs.at(torch.arange(len(budgets)), budgets)).double()

    least, most = float(curves.quality.min()), float(curves.quality.max())
    margin = max(1e-6, 1e-3 * (most - least))
    easy, hard = (most, least - margin) if lower_is_better else (least, most + margin)
    threshold = _meet(lambda value: float(costs_of(budgets_at(value)).mean()), mean, easy=easy, hard=hard)
    budgets = budgets_at(threshold)
    sample_costs = costs_of(budgets)
    return Calibration(
        threshold=threshold,
        mean=float(sample_costs.mean()),
        standard_error=float(sample_costs.std() / len(budgets) ** 0.5),
        mean_tokens=float(budgets.double().mean()),
        pictures=len(budgets),
    )


def _meet(mean_at: Callable[[float], float], target: float, *, easy: float, hard: float) -> float:
    """Bisect between two thresholds, the second of which takes more tokens; the one whose mean comes nearest."""
    distances = {value: abs(mean_at(value) - target) for value in (easy, hard)}
    for _ in range(CALIBRATION_STEPS):
        middle = (easy + hard) / 2
        mean = mean_at(middle)
        distances[middle] = abs(mean - target)
        easy, hard = (middle, hard) if mean <= target else (easy, middle)
    return min(distances, key=lambda value: distances[value])
