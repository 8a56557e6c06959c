"""The pictures of the report: every original beside its reconstructions, with their scores."""

import base64
import io
from dataclasses import dataclass
from html import escape

from jaxtyping import UInt8
from torch import Tensor

from textok.data.images import tensor_to_image
from textok.evaluation.captioned import CONDITIONS, CaptionCondition, CaptionedPictures
from textok.evaluation.pages.grids import CAPTION_LABELS
from textok.evaluation.reconstruction import Reconstructions

Scores = dict[tuple[CaptionCondition, int], dict[str, list[float]]]
"""By caption condition and budget: metric name -> one value a picture."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """Pictures of one kind with all that was made of them.

    Attributes:
        title: heading.
        note: a sentence on what these pictures test.
        pictures: the originals.
        outputs: their reconstructions.
        scores: the metrics of every reconstruction.
    """

    title: str
    note: str
    pictures: CaptionedPictures
    outputs: Reconstructions
    scores: Scores

    @property
    def budgets(self) -> list[int]:
        """Token budgets, smallest first."""
        return sorted({k for _, k in self.outputs})

    @property
    def conditions(self) -> list[CaptionCondition]:
        """Caption conditions, the right caption first."""
        present = {condition for condition, _ in self.outputs}
        return [condition for condition in CONDITIONS if condition in present]

    def mean(self, condition: CaptionCondition, budget: int, metric: str) -> float:
        """Mean of a metric over the pictures."""
        values = self.scores[condition, budget][metric]
        return sum(values) / len(values)


def gallery(section: Section, *, perceptual: str, open_cards: int = 6) -> str:
    """All pictures as cards; those after the first ``open_cards`` behind a fold.

    Args:
        section: the pictures.
        perceptual: name of the perceptual metric, shown beside the PSNR.
        open_cards: how many cards are visible at first.
    """
    cards = [_card(section, i, perceptual=perceptual) for i in range(len(section.pictures))]
    shown, folded = cards[:open_cards], cards[open_cards:]
    html = "\n".join(shown)
    if folded:
        html += f'\n<details class="more"><summary>{len(folded)} more pictures</summary>\n'
        html += "\n".join(folded) + "\n</details>"
    return html


def _card(section: Section, place: int, *, perceptual: str) -> str:
    pictures = section.pictures
    caption = pictures.captions[place]
    rows = "\n".join(
        _row(section, condition, place, perceptual=perceptual) for condition in section.conditions
    )
    heads = "".join(f"<th>{k}</th>" for k in section.budgets)
    wrong = ""
    if "wrong" in section.conditions:
        wrong = f'<p class="other">Wrong caption: “{escape(pictures.captions_under("wrong")[place])}”</p>'
    return f"""<article class="card">
<div class="original">
<img src="{data_uri(pictures.images[place])}" alt="original: {escape(caption)}" width="128">
<div><h4>{escape(caption)}</h4>{wrong}</div></div>
<table class="matrix"><thead><tr><th class="corner">tokens</th>{heads}</tr></thead>
<tbody>
{rows}
</tbody></table>
</article>"""


def _row(section: Section, condition: CaptionCondition, place: int, *, perceptual: str) -> str:
    cells = "".join(
        _cell(section, condition, budget, place, perceptual=perceptual) for budget in section.budgets
    )
    return f'<tr class="{condition}"><th scope="row">{CAPTION_LABELS[condition]}</th>{cells}</tr>'


def _cell(section: Section, condition: CaptionCondition, budget: int, place: int, *, perceptual: str) -> str:
    values = section.scores[condition, budget]
    psnr, distance = values["psnr"][place], values[perceptual][place]
    rivals = [section.scores[other, budget]["psnr"][place] for other in section.conditions]
    best = ' class="best"' if len(rivals) > 1 and psnr == max(rivals) else ""
    image = data_uri(section.outputs[condition, budget][place], lossless=False)
    label = f"{budget} tokens, {CAPTION_LABELS[condition]}"
    return (
        f'<td{best}><img src="{image}" alt="{label}" width="128" loading="lazy">'
        f"<b>{psnr:.1f}<small> dB</small></b><i>{distance:.2f}</i></td>"
    )


def data_uri(pixels: UInt8[Tensor, "3 h w"], *, lossless: bool = True) -> str:
    """A picture as a data URI in WebP; lossy (quality 95) is a fifth of the size, with an error that no eye sees."""
    buffer = io.BytesIO()
    tensor_to_image(pixels).save(buffer, format="WEBP", lossless=lossless, quality=60 if lossless else 95)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
