"""HTML pages from the templates of this folder: each page is one self-contained file, readable without JavaScript."""

import base64
import io
from collections.abc import Iterable
from functools import cache

from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from torch import Tensor

from textok.data.images import tensor_to_image


def cards_page(cards: Iterable[str], *, title: str, lead: str = "") -> str:
    """A page of cards side by side, as many as its width has room for; each is HTML, title and lead are texts."""
    return render("cards.html", cards=list(cards), title=title, lead=lead)


def data_uri(pixels: UInt8[Tensor, "3 h w"], *, lossless: bool = False) -> str:
    """A picture as a data URI in WebP; lossy (quality 95) is a fifth of the size, with an error that no eye sees."""
    buffer = io.BytesIO()
    tensor_to_image(pixels).save(buffer, format="WEBP", lossless=lossless, quality=60 if lossless else 95)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def render(template: str, **values: object) -> str:
    """A template of this folder with its values, which are escaped in HTML."""
    return _environment().get_template(template).render(**values, uri=data_uri)


def macro(name: str, *values: object) -> str:
    """A part of a page: a macro of ``parts.html``, whose values are escaped."""
    return getattr(_environment().get_template("parts.html").module, name)(*values)


@cache
def _environment() -> Environment:
    loader = PackageLoader("textok.evaluation", "pages")
    html_only = select_autoescape()
    return Environment(
        loader=loader, autoescape=html_only, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
