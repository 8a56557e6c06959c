"""``textok evaluate compare A.json B.json``: two results side by side."""

import json as json_format
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from textok.cli.checks import check_at_least, check_files, check_seed
from textok.cli.tables import shown, text_table

if TYPE_CHECKING:
    from textok.evaluation.comparison import Compared


HEADS = ("split", "captions", "tokens", "guidance")
"""What the fields of a cell are called in the table."""


def evaluate_compare(
    a: Annotated[Positional[Path], arg(metavar="A.json")],
    b: Annotated[Positional[Path], arg(metavar="B.json")],
    *,
    seed: int = 0,
    draws: int = 2000,
    out: Annotated[Path | None, arg(metavar="FILE.json", help_behavior_hint="")] = None,
    json: bool = False,
) -> None:
    """Lay two result files side by side: relative gains, and 95 % intervals over the pictures.

    A positive gain means that B is better, whichever way the metric goes. Intervals are of the gain, by the
    paired bootstrap; metrics of whole sets, such as Fréchet distances, have none.

    Args:
        a: the result that gains are relative to.
        b: the result to compare with it, of the same pictures.
        seed: of the resampling.
        draws: resamples.
        out: write the comparison there as JSON.
        json: print it as JSON instead of a table.
    """
    from textok.evaluation.comparison import compare, differing_settings
    from textok.evaluation.results import read_result
    from textok.writing import finite, write_json

    check_at_least(100, draws=draws)
    check_seed(seed)
    check_files(out=out)
    first, second = read_result(a), read_result(b)
    found = compare(first, second, seed=seed, draws=draws)
    differing = differing_settings(first, second)
    report = {
        "a": str(a),
        "b": str(b),
        "seed": seed,
        "draws": draws,
        "differing_settings": differing,
        "rows": [row.row() for row in found],
    }
    if out is not None:
        write_json(out, report)
    print(
        json_format.dumps(finite(report))
        if json
        else comparison_table(found, differing, names=(a.stem, b.stem))
    )


def comparison_table(
    found: Sequence["Compared"], differing: Sequence[str], *, names: tuple[str, str] = ("A", "B")
) -> str:
    """A block a metric, a line a cell; a star where the interval leaves out zero."""
    told = [place for place in range(len(HEADS)) if any(row.cell[place] is not None for row in found)]
    heads = [*(HEADS[place] for place in told), "count", "A", "B", "gain", "95 % interval"]
    blocks = [f"A: {names[0]}\nB: {names[1]}"]
    for metric, rows in _by_metric(found).items():
        cells = [
            [*_cell(row, told), shown(row.a), shown(row.b), _share(row.gain), _interval(row)] for row in rows
        ]
        blocks.append(f"{metric} ({_better(metric)})\n{text_table(cells, heads=heads)}")
    blocks.append("gain: relative to A, positive where B is better; *: the interval leaves out 0")
    if differing:
        blocks.append("Settings that differ:\n" + "\n".join(f"  {line}" for line in differing))
    return "\n\n".join(blocks)


def _cell(row: "Compared", told: Sequence[int]) -> list[str]:
    parts = [row.cell[place] for place in told]
    return [*("-" if part is None else str(part) for part in parts), str(row.count)]


def _by_metric(found: Sequence["Compared"]) -> Mapping[str, list["Compared"]]:
    metrics: dict[str, list[Compared]] = {}
    for row in found:
        metrics.setdefault(row.metric, []).append(row)
    return metrics


def _better(metric: str) -> str:
    from textok.evaluation.metric_names import meaning

    return meaning(metric).advice


def _interval(row: "Compared") -> str:
    if row.interval is None:
        return "-"
    low, high = map(_share, row.interval.gain)
    return f"{low} to {high}{' *' if row.settled else ''}"


def _share(gain: float) -> str:
    """A gain in percent; a dash where A is 0 and nothing relates to it."""
    return "-" if math.isnan(gain) else f"{gain:+.2%}"
