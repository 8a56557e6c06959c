"""The page to play with (``textok app``): pictures to tokens and back, words to pictures, quality over tokens."""

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from textok.evaluation.pages import data_uri, render

_FOLDER = Path(__file__).parent
LOOK = render("look.css") + (_FOLDER / "theme.css").read_text()
STYLE = (_FOLDER / "page.css").read_text()
CHOOSE = (_FOLDER / "choose.js").read_text()
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_GLOBALS: dict[str, Any] = {"uri": data_uri, "base64": lambda file: base64.b64encode(file).decode()}


def part(name: str, *values: object) -> str:
    """A part of the page: a macro of ``parts.html``, whose values are escaped."""
    return str(getattr(_ENVIRONMENT.get_template("parts.html", globals=_GLOBALS).module, name)(*values))
