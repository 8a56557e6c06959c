"""Choosing budgets on curves of quality against tokens: searches, shares that go beyond, calibration.

Nothing here knows pictures or models: a curve is anything that tells the quality of row i at k tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

CALIBRATION_STEPS = 40

Sizes = Callable[[Float[Tensor, "b k c"] | Integer[Tensor, "b k"]], Float[Tensor, "b k"]]
"""Tokens of pictures to the bytes that the first 1 to k of each take: ``textok.codec.coded_sizes`` makes one."""


@runtime_checkable
class Curves(Protocol):
    """Quality against budget for some pictures."""

    def __len__(self) -> int: ...

    def at(self, rows: Int[Tensor, "r"], budgets: Int[Tensor, "r"]) -> Float[Tensor, "r"]:
        """Quality of these pictures, each at its own budget; a picture may come several times."""
        ...


@dataclass(frozen=True, eq=False)
class KnownCurves:
    """Curves in a table.

    Attributes:
        quality: (b, n), a row a picture; column j is the quality at ``first + j`` tokens.
        first: budget of the first column.
    """

    quality: Float[Tensor, "b n"]
    first: int = 1

    def __len__(self) -> int:
        return len(self.quality)

    def at(self, rows: Int[Tensor, "r"], budgets: Int[Tensor, "r"]) -> Float[Tensor, "r"]:
        """See :class:`Curves`."""
        return self.quality[rows, budgets - self.first]


@dataclass(frozen=True, eq=False)
class LossCurves:
    """How much worse than its own at some budget each picture's quality is; less is better.

    Attributes:
        curves: of quality.
        best: quality of each picture at that budget.
        lower_is_better: of the quality.
    """

    curves: Curves
    best: Float[Tensor, "b"]
    lower_is_better: bool

    @classmethod
    def against(cls, curves: Curves, budget: int, *, lower_is_better: bool) -> "LossCurves":
        """Losses against the quality at ``budget`` tokens."""
        rows = torch.arange(len(curves))
        best = curves.at(rows, torch.full_like(rows, budget)).double()
        return cls(curves, best, lower_is_better)

    def __len__(self) -> int:
        return len(self.curves)

    def at(self, rows: Int[Tensor, "r"], budgets: Int[Tensor, "r"]) -> Float[Tensor, "r"]:
        """See :class:`Curves`."""
        loss = self.best[rows] - self.curves.at(rows, budgets).double()
        return -loss if self.lower_is_better else loss

    def quality(self, losses: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """The quality of each picture at its loss."""
        return self.best + losses if self.lower_is_better else self.best - losses


@dataclass(frozen=True)
class Goal:
    """The quality to reach: at least ``threshold``, or at most that of a distance or loss."""

    threshold: float
    lower_is_better: bool = False

    def reached(self, quality: Float[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """Where it is reached."""
        quality = quality.double()  # else the threshold would be rounded to the type of the quality
        return quality <= self.threshold if self.lower_is_better else quality >= self.threshold


@dataclass(frozen=True, eq=False)
class Choice:
    """Budgets of r pictures, the quality at each, and whether it reaches the goal."""

    budgets: Int[Tensor, "r"]
    quality: Float[Tensor, "r"]
    reached: Bool[Tensor, "r"]


@runtime_checkable
class Search(Protocol):
    """Finds for each of some rows the fewest tokens within [low, high] that reach the goal, else ``high``."""

    def __call__(self, curves: Curves, rows: Int[Tensor, "r"], *, low: int, high: int, goal: Goal) -> Choice:
        """Search the curves of these rows."""
        ...


def measure_all(curves: Curves, rows: Int[Tensor, "r"], *, low: int, high: int) -> Float[Tensor, "r n"]:
    """Quality of the rows at every budget from low to high."""
    return torch.stack([curves.at(rows, torch.full_like(rows, k)) for k in range(low, high + 1)], dim=1)


def exhaustive(curves: Curves, rows: Int[Tensor, "r"], *, low: int, high: int, goal: Goal) -> Choice:
    """Search that looks at every budget: the oracle, whatever shape the curve has."""
    table = measure_all(curves, rows, low=low, high=high)  # (r n)
    enough = goal.reached(table)
    reached = enough.any(dim=1)
    place = torch.where(reached, enough.int().argmax(dim=1), high - low)  # argmax: the first of equals
    return Choice(low + place, table.gather(1, place[:, None])[:, 0], reached)


def bisection(curves: Curves, rows: Int[Tensor, "r"], *, low: int, high: int, goal: Goal) -> Choice:
    """Search in at most ceil(log2(n + 1)) looks a picture over n budgets; exact where quality only rises."""
    least, most = torch.full_like(rows, low), torch.full_like(rows, high + 1)  # high + 1: none is enough
    quality = torch.full(rows.shape, torch.nan, dtype=torch.float64, device=rows.device)
    while bool((open_ := least < most).any()):
        middle = (least + most)[open_] // 2
        found = curves.at(rows[open_], middle).double()
        enough = goal.reached(found)
        quality[open_] = torch.where(enough | (middle == high), found, quality[open_])
        most[open_] = torch.where(enough, middle, most[open_])
        least[open_] = torch.where(enough, least[open_], middle + 1)
    return Choice(least.clamp(max=high), quality, least <= high)


class Allowance:
    """Which pictures may go beyond ``high``: at no time more than a share of those that came so far.

    Pictures are taken in the order they come, so that batches change nothing.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.seen = self.used = 0

    def grant(self, asks: Bool[Tensor, "b"]) -> Bool[Tensor, "b"]:
        """Which of the next b pictures may, among those that ask."""
        if not bool(asks.any()):
            self.seen += len(asks)
            return asks
        granted = []
        for asked in asks.tolist():
            self.seen += 1
            allowed = asked and self.used + 1 <= self.share * self.seen + 1e-9
            self.used += allowed
            granted.append(allowed)
        return torch.tensor(granted, dtype=torch.bool, device=asks.device)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Fewest and most tokens of a picture, and the most for those few that may go beyond."""

    low: int
    high: int
    beyond: int


def choose(curves: Curves, goal: Goal, bounds: Bounds, *, search: Search, allowance: Allowance) -> Choice:
    """Budgets of the next pictures: within the bounds, and beyond where that reaches the goal and is allowed."""
    low, high = bounds.low, bounds.high
    found = search(curves, torch.arange(len(curves)), low=low, high=high, goal=goal)
    asks = torch.zeros_like(found.reached)
    failed = (~found.reached).nonzero()[:, 0]
    further = None
    if bounds.beyond > high and allowance.share > 0 and len(failed):
        further = search(curves, failed, low=high + 1, high=bounds.beyond, goal=goal)
        asks[failed] = further.reached
    granted = allowance.grant(asks)
    if further is None:
        return found
    kept, rows = granted[failed], failed[granted[failed]]
    return Choice(
        found.budgets.index_copy(0, rows, further.budgets[kept]),
        found.quality.index_copy(0, rows, further.quality[kept].to(found.quality.dtype)),
        found.reached | granted,
    )


# --- what a sample tells --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Falls:
    """Where quality falls as tokens are added.

    Attributes:
        steps: share of the steps from k to k + 1 tokens at which it falls.
        pictures: share of the pictures whose curve falls anywhere.
        mean_fall: mean over those steps, in the measure's unit; 0 when there is none.
        bisection_differs: share of pictures and thresholds for which bisection finds another budget than the
            search of every budget does; thresholds are nine deciles of the curves' values.
    """

    steps: float
    pictures: float
    mean_fall: float
    bisection_differs: float


def falls(curves: KnownCurves, *, lower_is_better: bool) -> Falls:
    """How often quality is not monotone, and how much that matters to bisection."""
    gains = curves.quality.diff(dim=1) * (-1 if lower_is_better else 1)
    fell = gains < 0
    if not fell.numel():
        return Falls(steps=0.0, pictures=0.0, mean_fall=0.0, bisection_differs=0.0)
    return Falls(
        steps=float(fell.double().mean()),
        pictures=float(fell.any(dim=1).double().mean()),
        mean_fall=float(-gains[fell].double().mean()) if bool(fell.any()) else 0.0,
        bisection_differs=_bisection_differs(curves, lower_is_better=lower_is_better),
    )


def _bisection_differs(curves: KnownCurves, *, lower_is_better: bool) -> float:
    rows, last = torch.arange(len(curves)), curves.first + curves.quality.shape[1] - 1
    deciles = curves.quality.double().quantile(torch.arange(1, 10, dtype=torch.float64) / 10)
    differs = []
    for threshold in deciles.tolist():
        goal = Goal(threshold, lower_is_better)
        by = [
            search(curves, rows, low=curves.first, high=last, goal=goal).budgets
            for search in (exhaustive, bisection)
        ]
        differs.append((by[0] != by[1]).double().mean())
    return float(torch.stack(differs).mean())


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A threshold that gives a mean on a sample of pictures.

    Attributes:
        threshold: the quality to reach, or the loss to keep to.
        mean: of the sample at that threshold, of what was asked for: tokens, or bytes.
        standard_error: of that mean, from the spread over the pictures: other pictures of the same kind have a mean
            within twice of it 19 times in 20, where they are many.
        mean_tokens: of the sample at that threshold; ``mean`` itself unless bytes were asked for.
        pictures: in the sample.
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

    Args:
        curves: of the sample, covering the bounds.
        bounds: of the budgets.
        mean: the mean to meet, of tokens or of ``costs``.
        lower_is_better: of the curves' quality.
        search: the one that will be used.
        share: of the pictures may go beyond ``bounds.high``.
        costs: what each budget costs each picture, such as bytes; more for more tokens. None counts tokens.

    Raises:
        ValueError: when there are fewer than two pictures, or a quality is not finite.
    """
    if len(curves) < 2 or not bool(torch.isfinite(curves.quality).all()):
        raise ValueError(f"calibration: got {len(curves)} pictures; expected at least 2, of finite quality")

    def budgets_at(threshold: float) -> Int[Tensor, "b"]:
        goal = Goal(threshold, lower_is_better)
        return choose(curves, goal, bounds, search=search, allowance=Allowance(share)).budgets

    def costs_of(budgets: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
        return (budgets if costs is None else costs.at(torch.arange(len(budgets)), budgets)).double()

    easy, hard = _ends(curves, lower_is_better=lower_is_better)
    threshold = _meet(lambda value: float(costs_of(budgets_at(value)).mean()), mean, easy=easy, hard=hard)
    budgets = budgets_at(threshold)
    spent = costs_of(budgets)
    return Calibration(
        threshold=threshold,
        mean=float(spent.mean()),
        standard_error=float(spent.std() / len(spent) ** 0.5),
        mean_tokens=float(budgets.double().mean()),
        pictures=len(budgets),
    )


def _ends(curves: KnownCurves, *, lower_is_better: bool) -> tuple[float, float]:
    """A threshold that every budget reaches, and one that none does."""
    least, most = float(curves.quality.min()), float(curves.quality.max())
    margin = max(1e-6, 1e-3 * (most - least))
    return (most, least - margin) if lower_is_better else (least, most + margin)


def _meet(mean_at: Callable[[float], float], target: float, *, easy: float, hard: float) -> float:
    """Bisect between two thresholds, the second of which takes more tokens; the nearest of those tried."""
    tried = {value: abs(mean_at(value) - target) for value in (easy, hard)}
    for _ in range(CALIBRATION_STEPS):
        middle = (easy + hard) / 2
        mean = mean_at(middle)
        tried[middle] = abs(mean - target)
        easy, hard = (middle, hard) if mean <= target else (easy, middle)
    return min(tried, key=lambda value: tried[value])
