"""The page of rates and distortions: a chart a metric, and the same pictures through every codec."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from jaxtyping import UInt8
from torch import Tensor

from textok.evaluation.pages import data_uri, macro, render
from textok.evaluation.pages.curves import curve_chart
from textok.evaluation.results import Row, meaning

_FILES = ("bytes", "bytes_with_captions")
_COUNTS = {"bytes a picture": _FILES, "bytes a picture, without names and headers": ("bytes_payload",)}
_LOWER = ("perceptual", "fd")


def rate_page(
    rows: Sequence[Row],
    metrics: Sequence[str],
    shown: Mapping[str, Mapping[str, Sequence[UInt8[Tensor, "3 h w"]]]],
) -> str:
    """The whole page.

    Args:
        rows: of all sets and codecs, as ``RateJudge.row`` gives them.
        metrics: what is drawn.
        shown: split -> words under a line of pictures -> the pictures.
    """
    splits = list(dict.fromkeys(str(row["split"]) for row in rows))
    sections = "\n".join(
        _split(name, [r for r in rows if r["split"] == name], metrics, shown.get(name, {})) for name in splits
    )
    body = f"""<header><p class="eyebrow">TexTok</p><h1>Rate and distortion</h1>
<p class="lead">What a picture is worth at so many bytes: compressed tokens, whose decoder reads the caption, beside
classic codecs at the lowest rates they reach. Of a classic codec the best setting at each rate is drawn, pictures
made smaller before and enlarged after among them. Counted twice: whole files, and the coded numbers alone, as if
all pictures shared one header.</p></header>
{sections}"""
    return render("page.html", body=body, title="Rate and distortion")


def _split(
    split: str,
    rows: Sequence[Row],
    metrics: Sequence[str],
    shown: Mapping[str, Sequence[UInt8[Tensor, "3 h w"]]],
) -> str:
    known = [metric for metric in metrics if any(metric in row for row in rows)]
    charts = "\n".join(
        _chart(rows, metric, across=across, counts=counts)
        for metric in known
        for across, counts in _COUNTS.items()
    )
    pictures = "\n".join(_strip(words, images) for words, images in shown.items())
    names = ["codec", "setting", "bytes", "bytes_payload", *metrics]
    table = macro("table", [[_told(row.get(name, "")) for name in names] for row in rows], names)
    return f"""<section><h2>{escape(split)}</h2><p class="note">{rows[0]["count"]} pictures.</p>
<div class="charts">{charts}</div>{pictures}<details><summary>All numbers</summary>{table}</details></section>"""


def _chart(rows: Sequence[Row], metric: str, *, across: str, counts: Sequence[str]) -> str:
    known, lines = meaning(metric), rate_curves(rows, metric, counts=counts)
    chart = curve_chart(lines, title=known.advice, unit=known.unit, across=across)
    return f"<figure><figcaption>{escape(known.advice)}</figcaption>{chart}</figure>"


def rate_curves(
    rows: Sequence[Row], metric: str, *, counts: Sequence[str] = _FILES
) -> dict[str, dict[int, float]]:
    """Codec -> bytes -> value: of each codec only settings that no smaller one beats; every count of ours a line."""
    lines: dict[str, dict[int, float]] = {}
    for row in rows:
        for count in counts:
            if count in row and math.isfinite(float(row.get(metric, math.nan))):
                name = str(row["codec"]) if "bytes_with_captions" not in row else _name_of(count)
                line, size, value = lines.setdefault(name, {}), round(float(row[count])), float(row[metric])
                better = min if metric.startswith(_LOWER) else max
                line[size] = better(value, line.get(size, value))
    # Colours go by the order: what only some charts have comes last.
    ordered = sorted(lines, key=lambda name: name == _name_of("bytes_with_captions"))
    return {name: _best(lines[name], lower=metric.startswith(_LOWER)) for name in ordered}


def _name_of(count: str) -> str:
    return "and caption" if count == "bytes_with_captions" else "tokens"


def _best(line: Mapping[int, float], *, lower: bool) -> dict[int, float]:
    kept: dict[int, float] = {}
    for size in sorted(line):
        value = line[size]
        if not kept or (value < min(kept.values()) if lower else value > max(kept.values())):
            kept[size] = value
    return kept


def _strip(words: str, images: Sequence[UInt8[Tensor, "3 h w"]]) -> str:
    cells = "".join(
        f'<img src="{data_uri(image, lossless=True)}" alt="{escape(words)}, picture {i + 1}" width="112">'
        for i, image in enumerate(images)
    )
    return f'<p class="note">{escape(words)}</p><p class="strip">{cells}</p>'


def _told(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
