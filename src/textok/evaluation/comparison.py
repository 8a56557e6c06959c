"""Two results side by side: relative gains, with bootstrap intervals where single pictures have values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from textok.evaluation.metric_names import meaning
from textok.evaluation.results import CELL_FIELDS, Cell, Result, Row, cell_of

DRAWS = 2000
"""Bootstrap resamples."""

_CHUNK_VALUES = 4_000_000  # resampling weights in memory at a time


@dataclass(frozen=True, kw_only=True)
class Interval:
    """95 % intervals of what B has over A.

    Attributes:
        difference: (low, high) of mean B minus mean A.
        gain: (low, high) of the relative gain, see :func:`relative_gain`.
    """

    difference: tuple[float, float]
    gain: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One metric in one cell of both results.

    Attributes:
        cell: split, caption condition and budget; None for what the rows do not have.
        metric: its name.
        count: pictures.
        a: value in the first result.
        b: value in the second.
        gain: relative gain of the second; positive is better.
        interval: 95 % intervals; None for metrics of a whole set, and where the files hold no single values.
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
        row: Row = {
            name: value for name, value in zip(CELL_FIELDS, self.cell, strict=True) if value is not None
        }
        row |= {"metric": self.metric, "count": self.count, "a": self.a, "b": self.b, "gain": self.gain}
        if self.interval is not None:
            for name, (low, high) in vars(self.interval).items():
                row |= {f"{name}_low": low, f"{name}_high": high}
        return row


def compare(a: Result, b: Result, *, seed: int = 0, draws: int = DRAWS) -> list[Compared]:
    """Every score that both results have, cell by cell in the order of the first.

    Intervals are by the paired bootstrap over pictures: the same resample of the pictures is taken in both
    results, for all metrics, budgets and captions of a split. Generated pictures have no partner in another
    result unless their keys agree: without, they have no intervals.

    Args:
        a: the first result, what gains are relative to.
        b: the second.
        seed: of the resampling.
        draws: resamples.

    Raises:
        ValueError: when they share no cell or no score, or a split has other pictures in each.
    """
    rows_a, rows_b = _cells(a), _cells(b)
    shared = [cell for cell in rows_a if cell in rows_b]
    if not shared:
        raise ValueError(f"nothing to compare: A has {_told(rows_a)}; B has {_told(rows_b)}")
    pictures_a, pictures_b = _pictures(a), _pictures(b)
    intervals: dict[tuple[Cell, str], Interval] = {}
    for split in dict.fromkeys(cell[0] for cell in shared):
        cells = [cell for cell in shared if cell[0] == split]
        _check_same_count(rows_a, rows_b, cells)
        if _generated(a) and not _paired(pictures_a, pictures_b, cells):
            continue
        intervals |= _intervals(pictures_a, pictures_b, cells, seed=seed, draws=draws)
    found = [
        Compared(
            cell=cell,
            metric=metric,
            count=int(rows_a[cell].get("count", 0)),
            a=float(rows_a[cell][metric]),
            b=float(rows_b[cell][metric]),
            gain=relative_gain(metric, float(rows_a[cell][metric]), float(rows_b[cell][metric])),
            interval=intervals.get((cell, metric)),
        )
        for cell in shared
        for metric in rows_a[cell]
        if metric in rows_b[cell] and meaning(metric).better
    ]
    if not found:
        raise ValueError(
            "nothing to compare: the two results have no metric in common (other feature networks?)"
        )
    return found


def relative_gain(metric: str, a: float, b: float) -> float:
    """How much better b is than a, as a share of a; positive is better, whichever way the metric goes."""
    if b == a:
        return 0.0
    return meaning(metric).better * (b - a) / abs(a) if a else float("nan")


def differing_settings(a: Result, b: Result) -> list[str]:
    """Settings that the two do not share, such as the resize filter: a reader must know."""
    names = dict.fromkeys([*a.settings, *b.settings])
    return [
        f"{name}: {a.settings.get(name)!r} and {b.settings.get(name)!r}"
        for name in names
        if a.settings.get(name) != b.settings.get(name)
    ]


def paired_bootstrap(
    a: Float[Tensor, "m n"],
    b: Float[Tensor, "m n"],
    *,
    better: Sequence[int],
    generator: torch.Generator,
    draws: int = DRAWS,
    level: float = 0.95,
) -> list[Interval]:
    """Percentile intervals of mean(b) - mean(a) and of the relative gain, over resamples of the n pictures.

    Every row (a metric in a cell) is resampled with the same draws (Efron and Tibshirani 1993, chapter 13).
    Means pass over NaN: a picture without a caption has no retrieval.

    Args:
        a: m rows of values of the n pictures.
        b: the same of the second result, picture by picture.
        better: for every row 1 or -1, which way is better.
        generator: of the draws.
        draws: resamples.
        level: coverage.

    Raises:
        ValueError: with fewer than two pictures.
    """
    count = a.shape[1]
    if count < 2:
        raise ValueError(f"bootstrap: got {count} pictures; expected at least 2")
    means_a, means_b = (_resampled_means(torch.cat((a, b)).double(), generator=generator, draws=draws)).chunk(
        2
    )
    difference = means_b - means_a
    gain = torch.tensor(better, dtype=torch.float64)[:, None] * difference / means_a.abs()
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    gain = gain.masked_fill(~gain.isfinite(), torch.nan)  # a resample in which a is 0 has no relative gain
    bounds = [torch.nanquantile(values, tails, dim=1).T.tolist() for values in (difference, gain)]
    return [Interval(difference=(d[0], d[1]), gain=(g[0], g[1])) for d, g in zip(*bounds, strict=True)]


def _resampled_means(
    values: Float64[Tensor, "m n"], *, generator: torch.Generator, draws: int
) -> Float64[Tensor, "m draws"]:
    count = values.shape[1]
    known = (~values.isnan()).double()
    sums = torch.cat((values.nan_to_num(), known))
    means = []
    for size in torch.arange(draws).split(max(1, _CHUNK_VALUES // count)):
        drawn = torch.randint(count, (len(size), count), generator=generator)
        # How often each picture was drawn: the sum over a resample is then a matrix product.
        times = torch.zeros(len(size), count, dtype=torch.float64)
        times.scatter_add_(1, drawn, torch.ones_like(times))
        total, counted = (sums @ times.T).chunk(2)
        means.append(total / counted)
    return torch.cat(means, dim=1)


def _intervals(
    a: Mapping[Cell, dict[str, Row]],
    b: Mapping[Cell, dict[str, Row]],
    cells: Sequence[Cell],
    *,
    seed: int,
    draws: int,
) -> dict[tuple[Cell, str], Interval]:
    """Intervals of every per-picture score of a split's cells, all from the same resamples."""
    wanted: list[tuple[Cell, str]] = []
    columns: tuple[list[list[float]], list[list[float]]] = ([], [])
    for cell in cells:
        if cell not in a or cell not in b:
            continue
        keys = _same_pictures(cell, a[cell], b[cell])
        first, second = a[cell][keys[0]], b[cell][keys[0]]
        for metric in (name for name in first if name in second and name != "key" and meaning(name).better):
            wanted.append((cell, metric))
            for column, rows in zip(columns, (a[cell], b[cell]), strict=True):
                column.append([float(rows[key][metric]) for key in keys])
    if not wanted or len(columns[0][0]) < 2:
        return {}
    found = paired_bootstrap(
        torch.tensor(columns[0], dtype=torch.float64),
        torch.tensor(columns[1], dtype=torch.float64),
        better=[meaning(metric).better for _, metric in wanted],
        generator=torch.Generator().manual_seed(seed),
        draws=draws,
    )
    return dict(zip(wanted, found, strict=True))


def _pictures(result: Result) -> dict[Cell, dict[str, Row]]:
    """The rows of single pictures by cell and key; keys that repeat are numbered."""
    found: dict[Cell, dict[str, Row]] = {}
    for row in result.per_image:
        rows = found.setdefault(cell_of(row), {})
        key = str(row["key"])
        rows[f"{key}#{len(rows)}" if key in rows else key] = {
            name: value for name, value in row.items() if name not in CELL_FIELDS
        }
    return found


def _generated(result: Result) -> bool:
    return result.settings.get("task") == "generation"


def _paired(
    a: Mapping[Cell, dict[str, Row]], b: Mapping[Cell, dict[str, Row]], cells: Sequence[Cell]
) -> bool:
    return all(a.get(cell, {}).keys() == b.get(cell, {}).keys() for cell in cells)


def _same_pictures(cell: Cell, a: Mapping[str, Row], b: Mapping[str, Row]) -> list[str]:
    if a.keys() != b.keys():
        only = [next(iter(sorted(keys)), "none") for keys in (a.keys() - b.keys(), b.keys() - a.keys())]
        raise ValueError(
            f"split {cell[0]!r}: the results are of other pictures: {len(a)} in A and {len(b)} in B, "
            f"only in A: {only[0]}, only in B: {only[1]}; evaluate both on the same source, split and limit"
        )
    return list(a)


def _check_same_count(a: Mapping[Cell, Row], b: Mapping[Cell, Row], cells: Sequence[Cell]) -> None:
    for cell in cells:
        counts = a[cell].get("count"), b[cell].get("count")
        if counts[0] != counts[1]:
            raise ValueError(
                f"split {cell[0]!r}: A has {counts[0]} pictures and B {counts[1]}; "
                "evaluate both on the same source, split and limit"
            )


def _cells(result: Result) -> dict[Cell, Row]:
    cells = {cell_of(row): row for row in result.rows}
    if len(cells) < len(result.rows):
        raise ValueError(
            f"nothing to compare: several rows are of one cell; cells are told apart by {CELL_FIELDS}"
        )
    return cells


def _told(rows: Mapping[Cell, Row]) -> str:
    parts = []
    for place, name in enumerate(CELL_FIELDS):
        values = list(dict.fromkeys(cell[place] for cell in rows if cell[place] is not None))
        if values:
            parts.append(f"{name} {', '.join(map(str, values))}")
    return "; ".join(parts)
