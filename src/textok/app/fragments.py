"""Parts of the page that are plain HTML, with the pictures inside: nothing of them is ever stored in a file."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from textok.app.studio import Sketch, View
from textok.data.images import image_to_tensor
from textok.evaluation.pages import data_uri, render
from textok.evaluation.pages.curves import curve_chart

LABELS = {"right": "With its caption", "none": "Without a caption", "changed": "With the other caption"}

_FOLDER = Path(__file__).parent
LOOK = render("look.css") + (_FOLDER / "theme.css").read_text()
STYLE = (_FOLDER / "page.css").read_text()
CHOOSE = (_FOLDER / "choose.js").read_text()


def figures(view: View, sketch: Sketch, num_tokens: int) -> str:
    """The reconstructions of a view side by side."""
    alts = {name: tokens.captions or ("",) for name, tokens in sketch.tokens.items()}
    cells = [
        f'<figure><img src="{data_uri(pixels)}" alt="{escape(_alt(name, alts[name][0], num_tokens))}">'
        f"<figcaption>{escape(LABELS[name])}{_decibels(view.psnr.get(name))}</figcaption></figure>"
        for name, pixels in view.pictures.items()
    ]
    return f'<div class="figures">{"".join(cells)}</div>'


def drawn(images: Sequence[Image.Image], prompt: str) -> str:
    """Pictures that were drawn for a prompt."""
    cells = [
        f'<figure><img src="{data_uri(image_to_tensor(image), lossless=True)}" alt="{escape(prompt)} ({number})">'
        for number, image in enumerate(images, start=1)
    ]
    return f'<div class="figures">{"</figure>".join(cells)}</figure></div>'


def _alt(name: str, caption: str, num_tokens: int) -> str:
    words = f", read as: {caption}" if caption else ""
    return f"{LABELS[name]}: what {_count(num_tokens)} give back{words}"


def _decibels(psnr: float | None) -> str:
    return "" if psnr is None else f": {psnr:.2f} dB"


def _count(num_tokens: int) -> str:
    return f"{num_tokens} token{'s' * (num_tokens > 1)}"


def facts(view: View, num_tokens: int, file: bytes) -> str:
    """Bytes and time of a view, and the link that saves the tokens."""
    link = base64.b64encode(file).decode()
    return (
        f'<div class="facts" role="status">{_count(num_tokens)}, {view.num_bytes} bytes; decoded in '
        f"{view.seconds:.2f} s. "
        f'<a download="picture.ttk" href="data:application/octet-stream;base64,{link}">'
        f"Download picture.ttk ({len(file)} bytes with the caption)</a></div>"
    )


def curve(lines: Mapping[str, Mapping[int, float]]) -> str:
    """PSNR over budgets, with a button for each budget."""
    chart = curve_chart(lines, title="PSNR in dB over the number of tokens", unit="dB")
    return f"{chart}<p>Tokens to look at:</p>{_buttons(sorted(next(iter(lines.values()))))}"


def _buttons(budgets: Sequence[int]) -> str:
    cells = [f'<button type="button" data-choice="{k}" aria-pressed="false">{k}</button>' for k in budgets]
    return f'<div class="buttons">{"".join(cells)}</div>'


def notice(sentence: str) -> str:
    """A sentence about what went wrong, which screen readers read out."""
    return f'<p role="alert">{escape(sentence)}</p>'


def prompts(notes: Mapping[str, str]) -> str:
    """Prompts to choose from, each a button with the note about it."""
    cells = [
        f'<button type="button" data-choice="{place}" aria-pressed="false">{escape(prompt)}'
        f"{f'<small>{escape(note)}</small>' if note else ''}</button>"
        for place, (prompt, note) in enumerate(notes.items())
    ]
    return f'<div class="buttons">{"".join(cells)}</div>'


def choices(pictures: Sequence[tuple[Image.Image, str]]) -> str:
    """Pictures to choose from, each a button that its caption names."""
    cells = [
        f'<button type="button" data-choice="{place}" title="{escape(caption)}">'
        f'<img src="{data_uri(image_to_tensor(image))}" alt="{escape(caption)}"></button>'
        for place, (image, caption) in enumerate(pictures)
    ]
    return f'<div class="choices">{"".join(cells)}</div>'
