"""What a command prints on stdout: lines for a person, with tables of scores, or JSON for the next program."""

import json as json_format
import math
from collections.abc import Mapping, Sequence
from typing import Any

from textok.display import printable
from textok.writing import finite


def report(facts: Any, *lines: str, json: bool) -> None:
    """Print lines in which no name or caption can command the terminal; or the facts, with ``json``."""
    print(json_format.dumps(finite(facts)) if json else "\n".join(map(printable, lines)))


def text_table(rows: Sequence[Sequence[str]], *, heads: Sequence[str]) -> str:
    """Columns side by side, as wide as they must be: words to the left, numbers to the right."""
    widths = [max(len(row[place]) for row in (heads, *rows)) for place in range(len(heads))]
    left = [not any(_is_number(row[place]) for row in rows) for place in range(len(heads))]
    lines = []
    for row in (heads, *rows):
        cells = [
            cell.ljust(width) if to_left else cell.rjust(width)
            for cell, width, to_left in zip(row, widths, left, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


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
