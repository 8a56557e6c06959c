"""Line charts as inline SVG: a metric over token budgets, one line a caption condition."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from textok.evaluation.captioned import CONDITIONS, CaptionCondition
from textok.evaluation.pages.grids import CAPTION_LABELS

_WIDTH, _HEIGHT = 480, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 126, 14, 44
_LABEL_GAP = 16  # least distance between the names at the ends of the lines
_LABEL_LETTERS = 16
_VARIANTS = 5  # colours of conditions that are not right, none or wrong, in report.css


def curve_chart(
    lines: Mapping[CaptionCondition, Mapping[int, float]],
    *,
    title: str,
    unit: str,
    level: tuple[str, float] | None = None,
    across: str = "tokens",
) -> str:
    """An SVG of one metric: budgets on a log axis, a marked line a condition, named at its end.

    Colours come from the page's CSS: ``--right``, ``--none``, ``--wrong``, and ``--variant-1`` to 5 for other
    conditions in their order.

    Args:
        lines: condition -> budget -> value; finite values.
        title: what is drawn, for readers of the page without pictures.
        unit: written at the top of the value axis.
        level: what to compare with, as its name and value: a dotted line across.
        across: what budgets are; other than tokens, only powers of two are written under the axis.
    """
    budgets = sorted({k for line in lines.values() for k in line})
    values = [value for line in lines.values() for value in line.values()]
    ticks = value_ticks(values if level is None else [*values, level[1]])
    x = {k: _across(k, budgets) for k in budgets}
    y = {c: {k: _down(value, ticks) for k, value in line.items()} for c, line in lines.items()}
    styles = line_styles(list(lines))
    parts = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
        *_axes(x if across == "tokens" else _powers(budgets), ticks, unit=unit, across=across),
        *([] if level is None else [_level(level[0], _down(level[1], ticks))]),
        *(_line(styles[c], [(x[k], line[k]) for k in sorted(line)]) for c, line in y.items()),
        *_names({condition: line[max(line)] for condition, line in y.items()}, styles),
        "</svg>",
    ]
    return "\n".join(parts)


def line_styles(conditions: Sequence[CaptionCondition]) -> dict[CaptionCondition, str]:
    """CSS class of every condition: its own name for the usual ones, ``variant-N`` for others."""
    variants = [condition for condition in conditions if condition not in CONDITIONS]
    numbered = {condition: f"variant-{i % _VARIANTS + 1}" for i, condition in enumerate(variants)}
    return {condition: numbered.get(condition, condition) for condition in conditions}


def caption_label(condition: CaptionCondition) -> str:
    """A condition in a reader's words."""
    return CAPTION_LABELS.get(condition, condition.replace("_", " "))


def value_ticks(values: Sequence[float], *, most: int = 8) -> list[float]:
    """Round numbers at even steps (1, 2 or 5 times a power of ten) whose range holds all values."""
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    power = 10.0 ** math.floor(math.log10((high - low) / (most - 1)))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < most:
            break
    return [round(i * step, 10) for i in range(first, last + 1)]


def _across(budget: int, budgets: Sequence[int]) -> float:
    span = math.log2(budgets[-1] / budgets[0]) or 1.0
    return _LEFT + 10 + math.log2(budget / budgets[0]) / span * (_WIDTH - _LEFT - _RIGHT - 20)


def _down(value: float, ticks: Sequence[float]) -> float:
    share = (value - ticks[0]) / (ticks[-1] - ticks[0])
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM - 16)


def _powers(budgets: Sequence[int]) -> dict[int, float]:
    """Places of the powers of two from the least budget to the largest."""
    first, last = math.ceil(math.log2(budgets[0])), math.floor(math.log2(budgets[-1]))
    return {2**power: _across(2**power, budgets) for power in range(first, last + 1)}


def _axes(x: Mapping[int, float], ticks: Sequence[float], *, unit: str, across: str) -> list[str]:
    right, base = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    parts = [f'<text class="unit" x="{_LEFT}" y="{_TOP}">{escape(unit)}</text>']
    for tick in ticks:
        height = _down(tick, ticks)
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{right}" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(
            f'<text x="{_LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{tick:.{decimals}f}</text>'
        )
    parts += [
        f'<text x="{left:.1f}" y="{base + 18}" text-anchor="middle">{k}</text>' for k, left in x.items()
    ]
    parts.append(
        f'<text class="unit" x="{(_LEFT + right) / 2}" y="{base + 37}" text-anchor="middle">{escape(across)}</text>'
    )
    return parts


def _level(name: str, height: float) -> str:
    right = _WIDTH - _RIGHT
    return (
        f'<g class="level"><line x1="{_LEFT}" x2="{right}" y1="{height:.1f}" y2="{height:.1f}"/>'
        f'<text x="{right - 4}" y="{height - 5:.1f}" text-anchor="end">{escape(name)}</text></g>'
    )


def _line(style: str, points: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    marks = "".join(_mark(style, x, y) for x, y in points)
    return f'<g class="{style}"><polyline points="{path}"/>{marks}</g>'


def _mark(style: str, x: float, y: float) -> str:
    """A shape of its own for every usual condition, so that colour is not the only difference."""
    if style == "right":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    if style == "none":
        return f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7"/>'
    if style == "wrong":
        return f'<path d="M{x:.1f} {y - 4.6:.1f} l4.6 8.2 h-9.2 z"/>'
    return f'<path d="M{x:.1f} {y - 4.8:.1f} l4.8 4.8 l-4.8 4.8 l-4.8 -4.8 z"/>'


def _names(ends: Mapping[CaptionCondition, float], styles: Mapping[CaptionCondition, str]) -> list[str]:
    """The conditions' names beside the ends of their lines, pushed apart where these are close."""
    parts, last = [], -math.inf
    floor = _HEIGHT - _BOTTOM - _LABEL_GAP * (len(ends) - 1)
    for place, (condition, height) in enumerate(sorted(ends.items(), key=lambda item: item[1])):
        # Never so low that the names still to come would leave the chart.
        last = max(min(height, floor + _LABEL_GAP * place), last + _LABEL_GAP)
        left, label = _WIDTH - _RIGHT + 4, caption_label(condition)
        short = label if len(label) <= _LABEL_LETTERS else label[: _LABEL_LETTERS - 1] + "…"
        parts.append(
            f'<text class="name {styles[condition]}" x="{left}" y="{last + 4:.1f}">{escape(short)}'
            f"<title>{escape(label)}</title></text>"
        )
    return parts
