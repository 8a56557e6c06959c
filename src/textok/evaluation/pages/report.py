"""The report of ``textok demo``: reconstructions to look at, with their scores, as one HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from textok.evaluation.captioned import CaptionCondition
from textok.evaluation.pages.curves import curve_chart
from textok.evaluation.pages.document import html_page, plain_table
from textok.evaluation.pages.gallery import Section, gallery
from textok.evaluation.pages.grids import CAPTION_LABELS
from textok.evaluation.pages.prompts import PromptSection, prompt_gallery
from textok.evaluation.results import Row


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the page says.

    Attributes:
        model_id: the tokenizer.
        perceptual: name of the perceptual metric in the sections' scores.
        sections: pictures by kind.
        token_bytes: bytes of one picture's tokens by budget.
        file_bytes: mean bytes of one original, by file format.
        caption_bytes: mean bytes of a caption.
        speed: what was timed -> pictures a second.
        facts: about the model and the machine, in order.
        details: what trained the weights, flat.
        credit: whose pictures these are; "" when not known.
        prompts: what a generator over these tokens makes; None without one.
    """

    model_id: str
    perceptual: str
    sections: Sequence[Section]
    token_bytes: Mapping[int, int]
    file_bytes: Mapping[str, float]
    caption_bytes: float
    speed: Mapping[str, float]
    facts: Mapping[str, str]
    details: Mapping[str, str]
    credit: str = ""
    prompts: PromptSection | None = None


def render_report(report: Report) -> str:
    """The whole page."""
    body = "\n".join(
        [
            _introduction(report),
            _tiles(report),
            *(_section(section, report.perceptual) for section in report.sections),
            "" if report.prompts is None else prompt_gallery(report.prompts),
            _sizes(report),
            _about(report),
            _full_table(report),
        ]
    )
    return html_page(body, title=f"TexTok {report.model_id}: pictures in a few tokens")


def table_rows(report: Report) -> list[Row]:
    """The means of every section, caption condition and budget: what the full table shows."""
    return [
        {"split": section.pictures.split, "captions": condition, "budget": k, "count": len(section.pictures)}
        | {metric: section.mean(condition, k, metric) for metric in section.scores[condition, k]}
        for section in report.sections
        for condition in section.conditions
        for k in section.budgets
    ]


def _introduction(report: Report) -> str:
    budgets = [str(k) for k in report.token_bytes]
    listed = f"{', '.join(budgets[:-1])} or {budgets[-1]}" if len(budgets) > 1 else budgets[0]
    return f"""<header>
<p class="eyebrow">TexTok · {escape(report.model_id)}</p>
<h1>Captioned pictures in a few tokens</h1>
<p class="lead">Each picture was encoded once to a short row of tokens, each a few numbers, and is drawn
again here from only the first {listed} of them.</p>
<p class="lead">The caption is read beside the picture and again beside the tokens: it says what is shown,
which leaves the tokens free for how it looks. “Without” and “wrong caption” show what that is worth.</p>
<p class="lead">{_where_it_fails(report)}</p>
</header>"""


def _where_it_fails(report: Report) -> str:
    """From the numbers: the kind of picture and the picture that come out worst."""
    budget = max(report.token_bytes)
    condition = report.sections[0].conditions[0]
    worst = min(report.sections, key=lambda section: section.mean(condition, budget, "psnr"))
    psnr, place = min((value, i) for i, value in enumerate(worst.scores[condition, budget]["psnr"]))
    return (
        "Few tokens keep colours and layout and lose detail, lettering and faces; hardest here, even with"
        f" {budget} tokens, is “{escape(worst.title)}”, and in it “{escape(worst.pictures.captions[place])}”"
        f" ({psnr:.1f} dB)."
    )


def _tiles(report: Report) -> str:
    budget = min(report.token_bytes, key=lambda k: abs(k - 8))
    size = report.token_bytes[budget]
    ratio = min(report.file_bytes.values()) / size
    tiles = [(f"{size} B", f"a picture in {budget} tokens: 1/{ratio:.0f} of its smallest file")]
    if {"right", "none"} <= set(report.sections[0].conditions):
        tiles.append(_caption_gain(report.sections[0], min(report.token_bytes)))
    tiles += [(f"{rate:,.0f}", f"pictures a second to {escape(name)}") for name, rate in report.speed.items()]
    cells = "".join(f"<li><strong>{value}</strong><span>{label}</span></li>" for value, label in tiles)
    return f'<ul class="tiles">{cells}</ul>'


def _caption_gain(section: Section, budget: int) -> tuple[str, str]:
    gain = section.mean("right", budget, "psnr") - section.mean("none", budget, "psnr")
    return f"{gain:+.1f} dB", f"from the caption at {budget} tokens ({escape(section.title.lower())})"


def _section(section: Section, perceptual: str) -> str:
    charts = "".join(
        f"<figure><figcaption>{title}</figcaption>{_chart(section, metric, title, unit)}</figure>"
        for metric, title, unit in (
            ("psnr", "PSNR: higher is better", "dB"),
            (perceptual, "Perceptual distance: lower is better", "distance"),
        )
    )
    return f"""<section>
<h2>{escape(section.title)}</h2>
<p class="note">{escape(section.note)} Means over {len(section.pictures)} pictures; in the table the PSNR
stands over the perceptual distance, and the best of each column is bold.</p>
<div class="charts">{charts}</div>
{_means(section, perceptual)}
<p class="legend">Under each picture: PSNR in dB (more is better) and perceptual distance (less is better).
At each budget the picture with the best PSNR is framed.</p>
{gallery(section, perceptual=perceptual)}
</section>"""


def _chart(section: Section, metric: str, title: str, unit: str) -> str:
    lines = {c: {k: section.mean(c, k, metric) for k in section.budgets} for c in section.conditions}
    return curve_chart(lines, title=f"{section.title}. {title}", unit=unit)


def _means(section: Section, perceptual: str) -> str:
    heads = "".join(f"<th>{k}<span> tokens</span></th>" for k in section.budgets)
    rows = "\n".join(
        f'<tr class="{c}"><th scope="row">{CAPTION_LABELS[c]}</th>'
        + "".join(_mean_cell(section, c, k, perceptual) for k in section.budgets)
        + "</tr>"
        for c in section.conditions
    )
    return f"""<div class="wide"><table class="means">
<thead><tr><th></th>{heads}</tr></thead>
<tbody>
{rows}
</tbody></table></div>"""


def _mean_cell(section: Section, condition: CaptionCondition, budget: int, perceptual: str) -> str:
    marked = []
    for metric, form, best in (("psnr", "{:.2f}", max), (perceptual, "{:.3f}", min)):
        values = {c: section.mean(c, budget, metric) for c in section.conditions}
        text = form.format(values[condition])
        leads = len(values) > 1 and values[condition] == best(values.values())
        marked.append(f"<b>{text}</b>" if leads else text)
    return f"<td>{marked[0]}<br><i>{marked[1]}</i></td>"


def _sizes(report: Report) -> str:
    smallest = min(report.file_bytes.values())
    rows = [
        (f"{k} tokens", f"{size:,} B", f"1/{smallest / size:.0f}") for k, size in report.token_bytes.items()
    ]
    rows += [
        (f"the original as {name}", f"{size:,.0f} B", f"{size / smallest:.1f}")
        for name, size in report.file_bytes.items()
    ]
    rows.append(("its caption, as text", f"{report.caption_bytes:,.0f} B", ""))
    return f"""<section>
<h2>Bytes per picture</h2>
<p class="note">Tokens count as stored, 16 bits a number or whole bits of codes. The decoder needs the
caption too: where it does not travel with the picture anyway, add its bytes.</p>
{plain_table(rows, heads=("", "mean size", "of the smallest file"))}
</section>"""


def _about(report: Report) -> str:
    details = ""
    if report.details:
        table = plain_table(report.details.items())
        details = f"<details><summary>What trained the weights</summary>{table}</details>"
    credit = f'<p class="note">{escape(report.credit)}</p>' if report.credit else ""
    return f"""<section>
<h2>About this run</h2>
{plain_table(report.facts.items())}
{details}
<p class="note">All metrics read the exact 8-bit pictures; reconstructions are shown as WebP of quality 95.
PSNR has data range 255 and is averaged over pictures. The perceptual distance ({escape(report.perceptual)})
compares stage features of EfficientNet-lite2, scaled to unit length over channels; it is not LPIPS, and
that network took no part in training. A wrong caption is that of another picture of the same kind.</p>
{credit}
</section>"""


def _full_table(report: Report) -> str:
    rows = table_rows(report)
    cells = ([f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows)
    table = plain_table(cells, heads=list(rows[0]))
    return f'<details class="full"><summary>All numbers</summary>{table}</details>'
