"""Line charts as inline SVG: a metric over token budgets, one line per caption condition."""

import math
from collections.abc import Mapping, Sequence

from textok.evaluation.captioned import CONDITIONS, CaptionCondition
from textok.evaluation.pages import macro
from textok.evaluation.pages.grids import caption_label

_LEFT, _RIGHT, _TOP, _BASE = 46, 354, 14, 236  # of the axes, in a chart of 480 x 280 (see parts.html)
_LABEL_GAP = 16  # least distance between the names at the ends of the lines
_VARIANTS = 5  # colours of conditions that are not right, none or wrong, in look.css


def curve_chart(
    lines: Mapping[CaptionCondition, Mapping[int, float]], *, title: str, unit: str, across: str = "tokens"
) -> str:
    """An SVG of one metric: budgets on a log axis, one marked line per condition, named at its end.

    Colours come from the page's CSS: ``--right``, ``--none``, ``--wrong``, and ``--variant-1`` to 5 for other
    conditions in their order. Of budgets that are not tokens, only powers of two are written under the axis.
    """
    budgets = sorted({k for line in lines.values() for k in line})
    values = [value for line in lines.values() for value in line.values()]
    ticks = value_ticks(values)
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    points = {c: [(_x(k, budgets), _y(line[k], ticks)) for k in sorted(line)] for c, line in lines.items()}
    label_y = _label_heights({c: ends[-1][1] for c, ends in points.items()})
    variants = [condition for condition in lines if condition not in CONDITIONS]
    styles = {c: f"variant-{i % _VARIANTS + 1}" for i, c in enumerate(variants)} | {c: c for c in CONDITIONS}
    first, last = math.ceil(math.log2(budgets[0])), math.floor(math.log2(budgets[-1]))
    written = budgets if across == "tokens" else [2**power for power in range(first, last + 1)]
    chart = {
        "left": _LEFT,
        "right": _RIGHT,
        "top": _TOP,
        "base": _BASE,
        "title": title,
        "unit": unit,
        "x_label": across,
        "x_ticks": [(k, _x(k, budgets)) for k in written],
        "y_ticks": [(f"{tick:.{decimals}f}", _y(tick, ticks)) for tick in ticks],
        "lines": [
            {"style": styles[c], "points": points[c], "label": caption_label(c), "label_y": label_y[c]}
            for c in lines
        ],
    }
    return macro("chart", chart)


def value_ticks(values: Sequence[float]) -> list[float]:
    """At most eight round numbers at even steps (1, 2 or 5 times a power of ten) whose range holds all values."""
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    power = 10.0 ** math.floor(math.log10((high - low) / 7))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < 8:
            break
    return [round(i * step, 10) for i in range(first, last + 1)]


def _x(budget: int, budgets: Sequence[int]) -> float:
    span = math.log2(budgets[-1] / budgets[0]) or 1.0
    return round(_LEFT + 10 + math.log2(budget / budgets[0]) / span * (_RIGHT - _LEFT - 20), 1)


def _y(value: float, ticks: Sequence[float]) -> float:
    share = (value - ticks[0]) / (ticks[-1] - ticks[0])
    return round(_BASE - share * (_BASE - _TOP - 16), 1)


def _label_heights(ends: Mapping[CaptionCondition, float]) -> dict[CaptionCondition, float]:
    """Heights of the conditions' names beside the ends of their lines, pushed apart where these are close."""
    heights, last = {}, -math.inf
    floor = _BASE - _LABEL_GAP * (len(ends) - 1)
    for index, (condition, height) in enumerate(sorted(ends.items(), key=lambda item: item[1])):
        # Never so low that the names still to come would leave the chart.
        last = max(min(height, floor + _LABEL_GAP * index), last + _LABEL_GAP)
        heights[condition] = float(round(last, 1))
    return heights
