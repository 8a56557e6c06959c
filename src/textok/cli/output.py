"""What a command prints on stdout: lines for a person, with tables of scores, or JSON for the next program."""

import io
import json as json_format
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from textok.display import printable
from textok.evaluation.results import Row
from textok.writing import finite

_WIDEST = 10_000  # a table is never cut: a terminal wraps it, and a file keeps it


def report(facts: Any, *lines: str, json: bool) -> None:
    """Print lines in which no name or caption can command the terminal; or the facts, with ``json``."""
    print(json_format.dumps(finite(facts)) if json else "\n".join(map(printable, lines)))


def text_table(rows: Sequence[Sequence[str]], *, heads: Sequence[str]) -> str:
    """Columns side by side, as wide as they must be: words to the left, numbers to the right.

    On a terminal the heads are bold, and coloured unless NO_COLOR is set.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold blue")
    for place, head in enumerate(heads):
        number = any(row[place].lstrip("+-")[:1].isdigit() for row in rows)
        table.add_column(Text(head), justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(file=io.StringIO(), force_terminal=sys.stdout.isatty(), width=_WIDEST)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def score_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """Rows of a result under short headings, by the name in the rows; a column that no row has is left out."""
    present = {name: head for name, head in columns.items() if any(name in row for row in rows)}
    cells = [[shown(row.get(name)) for name in present] for row in rows]
    return text_table(cells, heads=list(present.values()))


def shown(value: object) -> str:
    """A value in a few letters; "-" for none."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "-"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.4f}"


# Headings in the terminal by how a metric's name begins, and by how it ends.
_HEADS = {"psnr": "psnr", "ssim": "ssim", "perceptual_": "perceptual", "fd_": "fd", "fid": "fid"}
_ENDS = {"_unpaired": " unpaired", "_floor": " floor"}
_PLACE = {"split": "split", "captions": "captions", "budget": "tokens"}

# How well the pictures fit their captions, in a table of its own.
_MEANING = {
    "retrieval_two_tower": "retrieval",
    "alignment_two_tower": "alignment",
    "retrieval_class_posterior": "retrieval by classes",
    "alignment_class_posterior": "alignment by classes",
    "posterior_agreement": "agreement",
    "top1_agreement": "same class",
}
_MEANING_NOTE = """Does the reconstruction still show what its caption says? Value / that of the originals, the best to
hope for. For drawings read retrieval and alignment (by the two-tower head), for photographs those by classes. Where
even the originals retrieve few captions, ignore that judge. Agreement and
same class compare a classifier on the reconstruction with the same on the original."""


def reconstruction_table(rows: Sequence[Row]) -> str:
    """The main scores of a reconstruction result, one line per split, caption condition and budget."""
    heads = _PLACE | {"count": "count"} | _headings(rows, _HEADS)
    legend = [f"{head} = {name}" for name, head in heads.items() if head != name and "_" in name]
    blocks = [score_table(rows, heads), "\n".join(legend)]
    meaning = _headings(rows, _MEANING)
    if any("_agreement" in name for name in meaning):
        beside = [{name: _beside(row, name) for name in row} for row in rows]
        blocks += [_MEANING_NOTE, score_table(beside, _PLACE | meaning)]
    return "\n\n".join(blocks)


def _headings(rows: Sequence[Row], starts: Mapping[str, str]) -> dict[str, str]:
    names = dict.fromkeys(name for row in rows for name in row)
    shown_names = [name for name in names if "_pca" not in name and not name.endswith("_original")]
    return {
        name: head + next((words for end, words in _ENDS.items() if name.endswith(end)), "")
        for start, head in starts.items()
        for name in shown_names
        if name.startswith(start)
    }


def _beside(row: Row, name: str) -> str | int | float:
    ceiling = row.get(f"{name}_original")
    return row[name] if ceiling is None else f"{shown(row[name])} / {shown(ceiling)}"
