"""Two results side by side: relative gains, with bootstrap intervals where single pictures have values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from textok.evaluation.results import CELL_FIELDS, Cell, Result, Row, cell_of, meaning

DRAWS = 2000
"""Bootstrap resamples."""

_CHUNK_VALUES = 4_000_000  # resampling weights in memory at a time


class Interval(NamedTuple):
    """95 % intervals (low, high): of mean B minus mean A, and of the relative gain, see :func:`relative_gain`."""

    difference: tuple[float, float]
    gain: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One metric in one cell of both results, of ``count`` pictures: its value in each, the relative gain of b
    (positive is better), and 95 % intervals where the metric has values of single pictures in the files.
    """

    cell: Cell
    metric: str
    count: int
    a: float
    b: float
    gain: float
    interval: Interval | None = None

    @property
    def settled(self) -> bool | None:
        """Whether the interval leaves out zero; None without an interval."""
        if self.interval is None:
            return None
        low, high = self.interval.difference
        return low > 0 or high < 0

    def row(self) -> Row:
        """Flat, for JSON."""
        cell = zip(CELL_FIELDS, self.cell, strict=True)
        row: Row = {name: value for name, value in cell if value is not None}
        row |= {"metric": self.metric, "count": self.count, "a": self.a, "b": self.b, "gain": self.gain}
        for name, (low, high) in (self.interval._asdict() if self.interval else {}).items():
            row |= {f"{name}_low": low, f"{name}_high": high}
        return row


def compare(a: Result, b: Result, *, seed: int = 0, draws: int = DRAWS) -> list[Compared]:
    """Every score that both results have, cell by cell in the order of the first.

    Intervals are by the paired bootstrap over pictures: the same resample of the pictures is taken in both results, for
    all metrics, budgets and captions of a split. Generated pictures have no partner in another result, and no interval,
    unless their keys agree. ``ValueError`` when the results share no cell or no score, or have other pictures.
    """
    rows_a, rows_b = _cells(a), _cells(b)
    shared = [cell for cell in rows_a if cell in rows_b]
    if not shared:
        raise ValueError(f"nothing to compare: A has {_cell_words(rows_a)}; B has {_cell_words(rows_b)}")
    for cell in shared:
        if (counts := (rows_a[cell].get("count"), rows_b[cell].get("count")))[0] != counts[1]:
            raise _other_pictures(cell, f"{counts[0]} in A and {counts[1]} in B")
    intervals = _intervals(a, b, shared, seed=seed, draws=draws)
    compared = [
        Compared(
            cell=cell,
            metric=metric,
            count=int(rows_a[cell].get("count", 0)),
            a=float(value),
            b=float(rows_b[cell][metric]),
            gain=relative_gain(metric, float(value), float(rows_b[cell][metric])),
            interval=intervals.get((cell, metric)),
        )
        for cell in shared
        for metric, value in rows_a[cell].items()
        if metric in rows_b[cell] and meaning(metric).better
    ]
    if not compared:
        raise ValueError("nothing to compare: the results have no metric in common (other feature networks?)")
    return compared


def relative_gain(metric: str, a: float, b: float) -> float:
    """How much better b is than a, as a share of a; positive is better, whichever way the metric goes."""
    if b == a:
        return 0.0
    return meaning(metric).better * (b - a) / abs(a) if a else float("nan")


def differing_settings(a: Result, b: Result) -> list[str]:
    """Settings that the two do not share, such as the resize filter."""
    pairs = {name: (a.settings.get(name), b.settings.get(name)) for name in [*a.settings, *b.settings]}
    return [f"{name}: {one!r} and {other!r}" for name, (one, other) in pairs.items() if one != other]


def paired_bootstrap(
    a: Float[Tensor, "m n"],
    b: Float[Tensor, "m n"],
    *,
    better: Sequence[int],
    generator: torch.Generator,
    draws: int = DRAWS,
) -> list[Interval]:
    """95 % percentile intervals of mean(b) - mean(a) and of the relative gain, over resamples of the n pictures.

    Every row (a metric in a cell, for which ``better`` is 1 or -1) is resampled with the same draws (Efron and
    Tibshirani 1993, chapter 13). Means pass over NaN: a picture without a caption has no retrieval. ``ValueError``
    with fewer than two pictures.
    """
    count = a.shape[1]
    if count < 2:
        raise ValueError(f"bootstrap: got {count} pictures, expected at least 2")
    values = torch.cat((a, b)).double()
    sums = torch.cat((values.nan_to_num(), (~values.isnan()).double()))
    means = []
    for size in torch.arange(draws).split(max(1, _CHUNK_VALUES // count)):
        drawn = torch.randint(count, (len(size), count), generator=generator)
        # How often each picture was drawn: the sum over a resample is then a matrix product.
        times = torch.zeros(len(size), count, dtype=torch.float64)
        times.scatter_add_(1, drawn, torch.ones_like(times))
        total, counted = (sums @ times.T).chunk(2)
        means.append(total / counted)
    means_a, means_b = torch.cat(means, dim=1).chunk(2)
    difference = means_b - means_a
    gain = torch.tensor(better, dtype=torch.float64)[:, None] * difference / means_a.abs()
    tails = torch.tensor([0.025, 0.975], dtype=torch.float64)
    gain = gain.masked_fill(~gain.isfinite(), torch.nan)  # a resample in which a is 0 has no relative gain
    bounds = [torch.nanquantile(values, tails, dim=1).T.tolist() for values in (difference, gain)]
    return [Interval(difference=(d[0], d[1]), gain=(g[0], g[1])) for d, g in zip(*bounds, strict=True)]


def _intervals(
    a: Result, b: Result, cells: Sequence[Cell], *, seed: int, draws: int
) -> dict[tuple[Cell, str], Interval]:
    """Intervals of every per-picture score; those of a split all come from the same resamples."""
    values, intervals = _paired_values(a, b, cells), dict[tuple[Cell, str], Interval]()
    for split in dict.fromkeys(cell[0] for cell, _ in values):
        scores = [score for score in values if score[0][0] == split]
        pairs = torch.tensor([values[score] for score in scores], dtype=torch.float64)
        if pairs.shape[2] < 2:
            continue
        better = [meaning(metric).better for _, metric in scores]
        generator = torch.Generator().manual_seed(seed)
        bounds = paired_bootstrap(pairs[:, 0], pairs[:, 1], better=better, generator=generator, draws=draws)
        intervals |= dict(zip(scores, bounds, strict=True))
    return intervals


def _paired_values(a: Result, b: Result, cells: Sequence[Cell]) -> dict[tuple[Cell, str], list[list[float]]]:
    pictures_a, pictures_b = _pictures(a), _pictures(b)
    values = {}
    for cell in cells:
        rows_a, rows_b = pictures_a.get(cell), pictures_b.get(cell)
        if rows_a is None or rows_b is None:
            continue
        if rows_a.keys() != rows_b.keys():
            if a.settings.get("task") == "generation":
                continue
            only_a = min(rows_a.keys() - rows_b.keys(), default="none")
            only_b = min(rows_b.keys() - rows_a.keys(), default="none")
            counts = f"{len(rows_a)} in A and {len(rows_b)} in B"
            raise _other_pictures(cell, f"{counts}, only in A: {only_a}, only in B: {only_b}")
        for metric in next(iter(rows_a.values())).keys() & next(iter(rows_b.values())).keys():
            if meaning(metric).better:
                sides = (rows_a, rows_b)
                values[cell, metric] = [[float(rows[key][metric]) for key in rows_a] for rows in sides]
    return values


def _other_pictures(cell: Cell, found: str) -> ValueError:
    return ValueError(
        f"split {cell[0]!r}: got results of other pictures: {found}; evaluate both on the same source, split and limit"
    )


def _pictures(result: Result) -> dict[Cell, dict[str, Row]]:
    """The rows of single pictures by cell and key; keys that repeat are numbered."""
    cells: dict[Cell, dict[str, Row]] = {}
    for row in result.per_image:
        rows, key = cells.setdefault(cell_of(row), {}), str(row["key"])
        rows[f"{key}#{len(rows)}" if key in rows else key] = row
    return cells


def _cells(result: Result) -> dict[Cell, Row]:
    cells = {cell_of(row): row for row in result.rows}
    if len(cells) < len(result.rows):
        raise ValueError(
            f"nothing to compare: got several rows of one cell, expected one row for each value of {CELL_FIELDS}"
        )
    return cells


def _cell_words(rows: Mapping[Cell, Row]) -> str:
    columns = zip(CELL_FIELDS, zip(*rows, strict=True), strict=True)
    present = [(name, dict.fromkeys(v for v in values if v is not None)) for name, values in columns]
    return "; ".join(f"{name} {', '.join(map(str, values))}" for name, values in present if values)
