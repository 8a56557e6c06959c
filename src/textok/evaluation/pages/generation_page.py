"""A generation result as one HTML page: the scores beside what real pictures score, and the pictures to look at."""

from collections.abc import Sequence
from html import escape

from textok.evaluation.metric_names import meaning
from textok.evaluation.pages.document import html_page, plain_table
from textok.evaluation.pages.evaluation_page import meanings_section, settings_section, shown_value
from textok.evaluation.reconstruction import Row
from textok.evaluation.results import Result

LISTED = 20
"""Pictures in a list of the most conspicuous ones."""


def render_generation(result: Result) -> str:
    """The whole page of a result of generated pictures.

    Raises:
        ValueError: when there is not exactly one row, or it has a budget as those of a reconstruction have.
    """
    if len(result.rows) != 1 or "budget" in result.rows[0]:
        raise ValueError(
            f"page: got {len(result.rows)} rows; expected the one row, without a budget, of a generation result"
        )
    [row] = result.rows
    parts = [
        _introduction(row, str(result.settings.get("samples", {}).get("data", "generated pictures"))),
        _scores(row, left_out=str(result.settings.get("reference", {}).get("left_out", ""))),
        _copies(row, result.per_image),
        _captions(row, result.per_image),
        meanings_section(result.rows),
        settings_section(result),
    ]
    return html_page("\n".join(part for part in parts if part), title="Generation scores")


def _introduction(row: Row, samples: str) -> str:
    against = f", {row['count_reference']} pictures" if "count_reference" in row else ""
    near = (
        f"How near {row['count']} generated pictures come to real ones ({escape(str(row['split']))}{against})"
    )
    asked = [
        *(["whether they show what their captions say"] if "count_captioned" in row else []),
        *(["whether they are copies of training pictures"] if "copied_share" in row else []),
    ]
    return f"""<header>
<p class="eyebrow">TexTok · {escape(samples)}</p>
<h1>Generation scores</h1>
<p class="lead">{", and ".join([near, *asked])}.</p>
</header>"""


def _scores(row: Row, *, left_out: str) -> str:
    names = [name for name in row if meaning(name).better]
    cells = [
        [
            meaning(name).advice,
            shown_value(row[name]),
            shown_value(row.get(f"{name}_standard_error", row.get(f"{name}_std", ""))),
            shown_value(row[f"{stem}_floor"] if (stem := name.removesuffix("_beside_floor")) != name else ""),
        ]
        for name in names
    ]
    heads = ("score", "value", "± error or spread", "real pictures")
    note = (
        "The last column is what as many real pictures score against the same others: the best to hope for."
    )
    if left_out:
        note = f"The reference holds mean and covariance only; left out: {escape(left_out)}."
    return f"""<section>
<h2>Scores</h2>
<p class="note">{note}</p>
{plain_table(cells, heads=heads, style="numbers")}
</section>"""


def _copies(row: Row, per_image: Sequence[Row]) -> str:
    if "copied_share" not in row:
        return ""
    found = sorted(per_image, key=lambda one: float(one["nearest_train_distance"]))[:LISTED]
    cells = [
        [str(one["key"]), str(one["nearest_train_key"]), shown_value(one["nearest_train_distance"])]
        for one in found
    ]
    return f"""<section>
<h2>Nearest training pictures</h2>
<p class="note">{float(row["copied_share"]):.1%} of the samples are nearer to one of {row["count_train"]} training
pictures than the nearest 1 % of the real pictures; about 1 % would be without copying. The median distance is
{shown_value(row["nearest_train_median"])}, that of real pictures {shown_value(row["nearest_train_median_held_out"])}.
The nearest samples, to be looked at:</p>
{plain_table(cells, heads=("sample", "training picture", "cosine distance"), style="numbers")}
</section>"""


def _captions(row: Row, per_image: Sequence[Row]) -> str:
    judges = [name for name in row if name.startswith("alignment_")]
    if not judges:
        return ""
    judged = [one for one in per_image if float(one[judges[0]]) == float(one[judges[0]])]  # NaN: no caption
    found = sorted(judged, key=lambda one: float(one[judges[0]]))[:LISTED]
    cells = [[str(one["key"]), *(shown_value(one[name]) for name in judges)] for one in found]
    heads = ("sample", *(meaning(name).title for name in judges))
    return f"""<section>
<h2>Samples that fit their captions least</h2>
<p class="note">{row["count_captioned"]} samples have a caption. In order of {escape(meaning(judges[0]).title)}.</p>
{plain_table(cells, heads=heads, style="numbers")}
</section>"""
