"""What a study found, as Markdown tables beside the paper's figures."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from textok.evaluation.results import Row
from textok.writing import write_text

Curve = dict[int, float]
"""Budget -> value."""


def curve(rows: Iterable[Row], metric: str, *, split: str, captions: str) -> Curve:
    """One metric of one test set and caption condition over budgets."""
    return {
        int(row["budget"]): float(row[metric])
        for row in rows
        if row["split"] == split and row["captions"] == captions and metric in row
    }


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean over seeds, at the budgets that all curves have."""
    shared = sorted(set.intersection(*(set(c) for c in curves)))
    return {k: statistics.mean(c[k] for c in curves) for k in shared}


def spread(curves: Sequence[Curve]) -> Curve:
    """Standard deviation over seeds; empty for a single one."""
    if len(curves) < 2:
        return {}
    return {k: statistics.stdev(c[k] for c in curves) for k in mean_curve(curves)}


def relative_gain(with_text: Curve, without: Curve, *, lower_is_better: bool) -> float:
    """Mean over shared budgets of the relative gain: the form of the paper's 29.2 % and 48.1 %.

    Budgets where the value without text is 0 have no relative gain; NaN when there is no other.
    """
    sign = 1 if lower_is_better else -1
    shared = [k for k in sorted(set(with_text) & set(without)) if without[k]]
    if not shared:
        return math.nan
    return statistics.mean(sign * (without[k] - with_text[k]) / abs(without[k]) for k in shared)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others numbers."""
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def cells(values: Mapping[int, float], errors: Mapping[int, float], *, form: str) -> list[str]:
    """Values as text, with their spread over seeds where there is one."""
    return [
        form.format(value) + (f" ± {form.format(errors[k])}" if k in errors else "")
        for k, value in sorted(values.items())
    ]


def fill(document: Path, sections: Mapping[str, str]) -> None:
    """Replace what stands between ``<!-- NAME -->`` and ``<!-- end NAME -->`` in a document.

    Raises:
        ValueError: when a pair of marks is missing.
    """
    text = document.read_text(encoding="utf-8")
    for name, content in sections.items():
        start, end = f"<!-- {name} -->", f"<!-- end {name} -->"
        before, opened, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not opened or not closed:
            raise ValueError(f"{document}: expected the marks {start} and {end}; found no such pair")
        text = f"{before}{start}\n\n{content}\n\n{end}{after}"
    write_text(document, text)
