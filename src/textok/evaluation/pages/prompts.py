"""The generated pictures of the report: a card for each prompt, a row for each budget, the same starts in all rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from jaxtyping import UInt8
from torch import Tensor

from textok.evaluation.pages.gallery import data_uri


@dataclass(frozen=True, kw_only=True)
class PromptCard:
    """Pictures of one prompt.

    Attributes:
        prompt: what was asked for.
        note: what it tests, such as a thing that training never showed.
        pictures: (budgets, n, 3, h, w).
    """

    prompt: str
    note: str
    pictures: UInt8[Tensor, "r n 3 h w"]


@dataclass(frozen=True, kw_only=True)
class PromptSection:
    """Everything the report says of the generator.

    Attributes:
        model_id: the generator.
        cards: one a prompt.
        budgets: tokens of the rows of every card.
        seconds: of one picture, by budget, in batches of ``batch``: text encoder, sampler and decoder.
        batch: pictures at a time when it was timed.
        settings: sampler, steps and guidance, in words.
        parameters: of the generator.
    """

    model_id: str
    cards: Sequence[PromptCard]
    budgets: Sequence[int]
    seconds: dict[int, float]
    batch: int
    settings: str
    parameters: int


def prompt_gallery(section: PromptSection) -> str:
    """The section as HTML."""
    times = ", ".join(f"{1000 * section.seconds[k]:.0f} ms with {k} tokens" for k in section.budgets)
    cards = "\n".join(_card(card, section.budgets) for card in section.cards)
    return f"""<section>
<h2>Pictures from prompts</h2>
<p class="note">{escape(section.model_id)}, a generator of {section.parameters / 1e6:.0f} M parameters over the tokens:
{escape(section.settings)}. A picture takes {times}, in batches of {section.batch}. Every column starts from the same
noise, so that rows differ by the number of tokens only. These are the first pictures of the seed, none was picked.</p>
<div class="prompts">
{cards}
</div>
</section>"""


def _card(card: PromptCard, budgets: Sequence[int]) -> str:
    rows = "\n".join(
        f'<tr><th scope="row">{k}</th>'
        + "".join(_cell(card, r, k, n) for n in range(card.pictures.shape[1]))
        + "</tr>"
        for r, k in enumerate(budgets)
    )
    note = f'<p class="other">{escape(card.note)}</p>' if card.note else ""
    return f"""<article class="card">
<h4>{escape(card.prompt)}</h4>{note}
<table class="matrix"><thead><tr><th class="corner">tokens</th></tr></thead>
<tbody>
{rows}
</tbody></table>
</article>"""


def _cell(card: PromptCard, row: int, budget: int, column: int) -> str:
    image = data_uri(card.pictures[row, column], lossless=False)
    label = f"{escape(card.prompt)}, {budget} tokens, picture {column + 1}"
    return f'<td><img src="{image}" alt="{label}" width="128" loading="lazy"></td>'
