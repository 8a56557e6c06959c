"""A reconstruction result as one HTML page: curves of every score over budgets, the numbers, what they mean."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from textok.evaluation.captioned import Caption
from textok.evaluation.metric_names import meaning
from textok.evaluation.pages.curves import caption_label, curve_chart
from textok.evaluation.pages.document import html_page, plain_table
from textok.evaluation.reconstruction import Row
from textok.evaluation.results import CELL_FIELDS, Result

_SAID = ("retrieval_", "alignment_", "posterior_agreement_", "top1_agreement_")

JUDGES = (
    "Does the reconstruction say what its caption says? Two values are those of reconstructions / of originals, the "
    "most to hope for. Caption retrieval and alignment by the two-tower head are made for drawings, by class "
    "posteriors for photographs: read the one that is made for these pictures. Where the originals find few captions, "
    "a judge says nothing of them."
)
"""Above the table of what the pictures say."""


def render_evaluation(result: Result) -> str:
    """The whole page of a result with budgets.

    Raises:
        ValueError: when a row has no budget, as those of a generation have none.
    """
    if any("budget" not in row for row in result.rows):
        raise ValueError("page: found rows without a budget; expected a reconstruction result")
    splits = list(dict.fromkeys(str(row["split"]) for row in result.rows))
    body = "\n".join(
        [
            _introduction(result, splits),
            *(_split(split, [row for row in result.rows if row["split"] == split]) for split in splits),
            meanings_section(result.rows),
            settings_section(result),
            _all_numbers(result.rows),
        ]
    )
    return html_page(body, title=f"{_model(result)}: reconstruction scores")


def shown_value(value: Any) -> str:
    """A number with four significant digits, as tables show it."""
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "–"
    decimals = 4 - len(str(int(abs(value)))) if abs(value) >= 1 else 4
    return f"{value:.{max(0, decimals)}f}"


def scores_of(rows: Sequence[Row]) -> list[str]:
    """Names of the scores in some rows, in order: what is drawn and told first.

    Distances along principal directions are left to the table of all numbers.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if meaning(name).better and "_pca" not in name]


def _model(result: Result) -> str:
    return str(result.settings.get("model", "a tokenizer"))


def _introduction(result: Result, splits: Sequence[str]) -> str:
    counts = {row["split"]: row.get("count", "?") for row in result.rows}
    sets = ", ".join(f"{split} ({counts[split]} pictures)" for split in splits)
    return f"""<header>
<p class="eyebrow">TexTok · {escape(_model(result))}</p>
<h1>Reconstruction scores</h1>
<p class="lead">How well a few tokens bring a picture back, by their number and by what caption is read beside
them. Evaluated on {escape(sets)}.</p>
</header>"""


def _split(split: str, rows: Sequence[Row]) -> str:
    charts = "\n".join(_chart(rows, metric, split=split) for metric in scores_of(rows))
    return f"""<section>
<h2>{escape(split)}</h2>
<p class="note">{rows[0].get("count", "?")} pictures in each row.</p>
<div class="charts">{charts}</div>
{_numbers(rows)}
</section>"""


def _chart(rows: Sequence[Row], metric: str, *, split: str) -> str:
    lines: dict[Caption, dict[int, float]] = {}
    for row in rows:
        value = float(row.get(metric, math.nan))
        if math.isfinite(value):
            lines.setdefault(str(row["captions"]), {})[int(row["budget"])] = value
    if not lines:
        return ""
    known = meaning(metric)
    chart = curve_chart(lines, title=f"{split}. {known.advice}", unit=known.unit, level=_level(rows, metric))
    return f"<figure><figcaption>{escape(known.advice)}</figcaption>{chart}</figure>"


def _level(rows: Sequence[Row], metric: str) -> tuple[str, float] | None:
    """What real pictures score, where the rows say so: the same in every row."""
    # The floor is that of unpaired halves: beside the paired distance it would mislead.
    floor = f"{metric.removesuffix('_unpaired')}_floor" if metric.endswith("_unpaired") else ""
    for name, label in ((floor, "floor: real pictures"), (f"{metric}_original", "the originals")):
        values = {float(row[name]) for row in rows if name in row}
        if len(values) == 1 and math.isfinite(value := values.pop()):
            return label, value
    return None


def _numbers(rows: Sequence[Row]) -> str:
    """The scores of a split, a row a condition and budget: distances, then what the pictures say."""
    said = [name for name in scores_of(rows) if name.startswith(_SAID)]
    distances = [name for name in scores_of(rows) if name not in said]
    tables = [_table(rows, names) for names in (distances, said) if names]
    return f'\n<p class="note">{JUDGES}</p>\n'.join(tables)


def _table(rows: Sequence[Row], scores: Sequence[str]) -> str:
    heads = ["captions", "tokens", *(meaning(name).title for name in scores)]
    cells = [
        [caption_label(str(row["captions"])), str(row["budget"]), *(_beside(row, name) for name in scores)]
        for row in rows
    ]
    return plain_table(cells, heads=heads, style="numbers")


def _beside(row: Row, name: str) -> str:
    """A value, with that of the originals where there is one."""
    value, ceiling = shown_value(row.get(name, math.nan)), row.get(f"{name}_original")
    return value if ceiling is None else f"{value} / {shown_value(ceiling)}"


def meanings_section(rows: Sequence[Row]) -> str:
    """What the names of all values in some rows mean."""
    names = dict.fromkeys(name for row in rows for name in row if name not in (*CELL_FIELDS, "count"))
    table = plain_table(([name, meaning(name).advice] for name in names), heads=("name", "what it is"))
    return f"""<section>
<h2>What the names mean</h2>
<p class="note">A score that a network computes has the network's name in its own: it compares only with values
of the same network, count and pictures. “fid”, “kid”, “is” and “lpips” stand only for the published weights.</p>
{table}
</section>"""


def settings_section(result: Result) -> str:
    """How the numbers were made."""
    made_by = {name: result.made_by[name] for name in ("command", "code", "python") if name in result.made_by}
    rows = [(name.replace("_", " "), _told(value)) for name, value in (result.settings | made_by).items()]
    return f"<section>\n<h2>Settings</h2>\n{plain_table(rows)}\n</section>"


def _told(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_told(inner)}" for name, inner in value.items())
    return str(value)


def _all_numbers(rows: Sequence[Row]) -> str:
    heads = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[shown_value(row.get(name, "")) for name in heads] for row in rows]
    table = plain_table(cells, heads=heads)
    return f'<details class="full"><summary>All numbers</summary>{table}</details>'
