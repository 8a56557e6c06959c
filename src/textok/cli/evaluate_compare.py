"""``textok evaluate compare A.json B.json``: two results side by side."""

import json as json_format
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from textok.cli import checks
from textok.cli.options import Json, optional
from textok.cli.output import shown, text_table
from textok.evaluation.comparison import DRAWS, Compared, compare, differing_settings
from textok.evaluation.results import meaning, read_result
from textok.writing import finite, write_json

HEADS = ("split", "captions", "tokens", "guidance")  # of the fields of a cell


def evaluate_compare(
    a: Annotated[Positional[Path], arg(metavar="A.json")],
    b: Annotated[Positional[Path], arg(metavar="B.json")],
    *,
    out: Annotated[Path | None, optional("FILE.json")] = None,
    json: Json = False,
) -> None:
    """Lay two result files side by side: relative gains, and 95 % intervals over the pictures.

    A positive gain means that B is better, whichever way the metric goes. Intervals are of the gain, by the
    paired bootstrap; metrics of whole sets, such as Fréchet distances, have none.

    Args:
        a: the result that gains are relative to.
        b: the result to compare with it, of the same pictures.
        out: write the comparison there as JSON.
    """
    checks.files(out=out)
    first, second = read_result(a), read_result(b)
    compared = compare(first, second)
    differing = differing_settings(first, second)
    report = {
        "a": str(a),
        "b": str(b),
        "seed": 0,
        "draws": DRAWS,
        "differing_settings": differing,
        "rows": [row.row() for row in compared],
    }
    if out is not None:
        write_json(out, report)
    table = comparison_table(compared, differing, names=(a.stem, b.stem))
    print(json_format.dumps(finite(report)) if json else table)


def comparison_table(compared: Sequence[Compared], differing: list[str], *, names: tuple[str, str]) -> str:
    """One block per metric with one line per cell; a star where the interval leaves out zero."""
    fields = [i for i in range(len(HEADS)) if any(row.cell[i] is not None for row in compared)]
    heads = [*(HEADS[i] for i in fields), "count", "A", "B", "gain", "95 % interval"]
    blocks = [f"A: {names[0]}\nB: {names[1]}"]
    for metric in dict.fromkeys(row.metric for row in compared):
        cells = [_cells(row, fields) for row in compared if row.metric == metric]
        blocks.append(f"{metric} ({meaning(metric).advice})\n{text_table(cells, heads=heads)}")
    blocks.append("gain: relative to A, positive where B is better; *: the interval leaves out 0")
    if differing:
        blocks.append("Settings that differ:\n" + "\n".join(f"  {line}" for line in differing))
    return "\n\n".join(blocks)


def _cells(row: Compared, fields: Sequence[int]) -> list[str]:
    interval = "-"
    if row.interval is not None:
        low, high = map(_percent, row.interval.gain)
        interval = f"{low} to {high}{' *' if row.settled else ''}"
    where = ["-" if row.cell[i] is None else str(row.cell[i]) for i in fields]
    return [*where, str(row.count), shown(row.a), shown(row.b), _percent(row.gain), interval]


def _percent(gain: float) -> str:
    """A gain in percent; a dash where A is 0 and nothing relates to it."""
    return "-" if math.isnan(gain) else f"{gain:+.2%}"
