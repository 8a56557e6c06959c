"""Colours by name: what one calls a drawing, and turning it to another colour."""

from collections.abc import Sequence
from functools import lru_cache

from PIL import Image

from textok.data.scenes import TABLES

RGB = tuple[int, int, int]

_TABLE = TABLES["colours"]
NAMES: tuple[str, ...] = tuple(_TABLE["names"])
TURNS: dict[str, int] = _TABLE["turns"]
"""The hue, in 256ths of the circle, that each name stands for when a drawing is turned to it."""
BACKGROUNDS: dict[str, RGB] = {name: (r, g, b) for name, (r, g, b) in _TABLE["backgrounds"].items()}
"""Colours of backgrounds; a scene varies them a little."""
ALIKE: dict[str, list[str]] = _TABLE["alike"]
"""The backgrounds from which a drawing of each colour hardly stands out."""
ALIKE_BACKGROUNDS: dict[str, list[str]] = _TABLE["alike backgrounds"]
"""The backgrounds that are too near to each to stand beside it, itself among them."""

_LEAST_SATURATION = 150
_LEAST_VALUE = {"yellow": 225, "orange": 225, "pink": 220}
_BRIGHTER_AT_MOST = 180  # percent


def colour_of(ranked: Sequence[tuple[str, int]]) -> str:
    """What one would call a drawing: "red" where half of it is, "red and white" for two, "" for many colours."""
    if not ranked:
        return ""
    if ranked[0][1] >= 50:
        return ranked[0][0]
    if len(ranked) > 1 and ranked[1][1] >= 25 and ranked[0][1] + ranked[1][1] >= 75:
        return f"{ranked[0][0]} and {ranked[1][0]}"
    return ""


def turn(image: Image.Image, typical: tuple[int, int, int], target: str) -> Image.Image:
    """An RGB picture with all hues shifted so that its typical colour becomes the named one.

    Saturation and value are scaled up where the typical colour is too pale or dark for the name.
    """
    return image.convert("HSV").point(_turning_table(typical, target)).convert("RGB")


@lru_cache(maxsize=4096)
def _turning_table(typical: tuple[int, int, int], target: str) -> list[int]:
    """What each hue, saturation and value becomes, 256 of each."""
    hue, saturation, value = typical
    richer = max(100, _LEAST_SATURATION * 100 // max(1, saturation))
    brighter = min(_BRIGHTER_AT_MOST, max(100, _LEAST_VALUE.get(target, 140) * 100 // max(1, value)))
    hues = [(level + TURNS[target] - hue) % 256 for level in range(256)]
    return hues + [min(255, level * scale // 100) for scale in (richer, brighter) for level in range(256)]
