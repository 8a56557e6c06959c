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
        number = any(_is_number(row[place]) for row in rows)
        table.add_column(Text(head), justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(file=io.StringIO(), force_terminal=sys.stdout.isatty(), width=_WIDEST)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def score_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """Rows of a result under short headings.

    Args:
        rows: flat rows.
        columns: name in the rows -> heading; those that no row has are left out.
    """
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


def _is_number(cell: str) -> bool:
    return cell.lstrip("+-")[:1].isdigit()
