"""Colours by name: which name a pixel has, which colour a drawing has most of, and turning it to another."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

NAMES = (
    "black", "white", "gray", "brown", "beige", "red", "orange", "yellow", "green", "teal", "blue", "purple", "pink",
)  # fmt: skip
COLOURLESS = ("black", "white", "gray")

TURNS = {
    "red": 0,
    "orange": 19,
    "yellow": 36,
    "green": 86,
    "teal": 125,
    "blue": 153,
    "purple": 194,
    "pink": 231,
}
"""The hue, in 256ths of the circle, that each name stands for when a drawing is turned to it."""

BACKGROUNDS = {
    "white": (255, 255, 255), "black": (18, 18, 18), "gray": (140, 140, 140), "beige": (235, 220, 185),
    "brown": (120, 72, 36), "red": (204, 40, 45), "orange": (245, 140, 40), "yellow": (250, 220, 60),
    "green": (60, 160, 70), "teal": (0, 140, 140), "sky blue": (135, 206, 235), "blue": (45, 95, 210),
    "navy blue": (20, 33, 91), "purple": (118, 55, 150), "pink": (250, 165, 195),
}  # fmt: skip
"""Colours of backgrounds; a scene varies them a little."""

ALIKE = {
    "black": ("black", "navy blue", "brown"), "white": ("white", "beige"), "gray": ("gray",),
    "brown": ("brown", "black", "red", "orange"), "beige": ("beige", "white", "yellow"),
    "red": ("red", "orange", "brown"),
    "orange": ("orange", "red", "yellow", "beige"), "yellow": ("yellow", "beige", "orange"), "green": ("green", "teal"),
    "teal": ("teal", "green", "sky blue"), "blue": ("blue", "sky blue", "navy blue"),
    "purple": ("purple", "navy blue", "blue"), "pink": ("pink", "red"),
}  # fmt: skip
"""The backgrounds from which a drawing of each colour hardly stands out."""

_LEAST_SATURATION = 150
_LEAST_VALUE = {"yellow": 225, "orange": 225, "pink": 220}
_BRIGHTER_AT_MOST = 180  # percent


def name_pixels(rgb: UInt8[np.ndarray, "n 3"]) -> Int[np.ndarray, "n"]:
    """The place in ``NAMES`` of each pixel's colour, by integer rules on hue, saturation and value."""
    hue, saturation, value = _hsv(rgb)
    warm, red = (hue >= 14) & (hue < 66), (hue < 14) | (hue >= 346)
    rules = [
        ("black", (value < 52) | ((value < 76) & (saturation < 110))),
        ("white", (value >= 216) & (saturation < 40)),
        ("gray", (saturation < 32) | ((value < 120) & (saturation < 60) & ~warm)),
        ("beige", warm & (saturation < 100) & (value >= 175)),
        ("brown", warm & (hue < 50) & ((value < 165) | ((value < 200) & (saturation < 150)))),
        ("brown", red & (value < 165) & (saturation < 160)),
        ("brown", (hue >= 8) & (hue < 14) & (value < 210) & (saturation < 190)),
        ("pink", red & (saturation < 135) & (value >= 170)),
        ("red", red),
        ("orange", hue < 40),
        ("yellow", hue < 66),
        ("green", hue < 158),
        ("teal", hue < 192),
        ("blue", hue < 256),
        ("purple", (hue < 295) | ((hue < 330) & (value < 150))),
    ]
    places = [NAMES.index(name) for name, _ in rules]
    return np.select([rule for _, rule in rules], places, NAMES.index("pink"))


def shares(rgb: UInt8[np.ndarray, "n 3"]) -> list[tuple[str, int]]:
    """The names of the colours of some pixels with their shares in percent, the largest first."""
    counts = np.bincount(name_pixels(rgb), minlength=len(NAMES))
    ranked = sorted(zip((-counts).tolist(), NAMES, strict=True))
    return [(name, -count * 100 // max(1, len(rgb))) for count, name in ranked if count]


def seen_pixels(rgba: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "n 3"]:
    """The colours of the pixels that are more opaque than not."""
    return rgba[rgba[..., 3] >= 128][:, :3]


def colour_of(ranked: Sequence[tuple[str, int]]) -> str:
    """What one would call a drawing: "red" where half of it is, "red and white" for two, "" for many colours."""
    if not ranked:
        return ""
    if ranked[0][1] >= 50:
        return ranked[0][0]
    if len(ranked) > 1 and ranked[1][1] >= 25 and ranked[0][1] + ranked[1][1] >= 75:
        return f"{ranked[0][0]} and {ranked[1][0]}"
    return ""


def typical_hsv(rgb: UInt8[np.ndarray, "n 3"], name: str) -> tuple[int, int, int]:
    """Median hue (in 256ths), saturation and value (0..255) of the pixels of one name."""
    hue, saturation, value = _hsv(rgb[name_pixels(rgb) == NAMES.index(name)])
    middle = (hue + 180) % 360 if name in ("red", "pink") else hue  # red lies around 0
    typical = int(np.median(middle)) + (180 if name in ("red", "pink") else 0)
    return typical % 360 * 256 // 360, int(np.median(saturation)), int(np.median(value))


def turn(image: Image.Image, typical: tuple[int, int, int], target: str) -> Image.Image:
    """An RGB picture with all hues shifted so that its typical colour becomes the named one.

    Saturation and value are scaled up where the typical colour is too pale or dark for the name. The shift and the
    scales commute with a premultiplied alpha.
    """
    table = _turning_table(typical, target)
    hsv = np.array(image.convert("HSV"))
    for channel in range(3):
        hsv[..., channel] = table[channel][hsv[..., channel]]
    return Image.fromarray(hsv, "HSV").convert("RGB")


@lru_cache(maxsize=4096)
def _turning_table(typical: tuple[int, int, int], target: str) -> UInt8[np.ndarray, "3 256"]:
    """What each hue, saturation and value becomes."""
    hue, saturation, value = typical
    richer = max(100, _LEAST_SATURATION * 100 // max(1, saturation))
    brighter = min(_BRIGHTER_AT_MOST, max(100, _LEAST_VALUE.get(target, 140) * 100 // max(1, value)))
    levels = np.arange(256)
    rows = [
        (levels + TURNS[target] - hue) % 256,
        np.minimum(255, levels * richer // 100),
        np.minimum(255, levels * brighter // 100),
    ]
    return np.stack(rows).astype(np.uint8)


def _hsv(
    rgb: UInt8[np.ndarray, "n 3"],
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Hue in degrees, saturation and value in 0..255."""
    red, green, blue = rgb.astype(np.int32).T
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    safe = np.maximum(chroma, 1)
    hue = np.where(
        value == red,
        (green - blue) * 60 // safe % 360,
        np.where(value == green, (blue - red) * 60 // safe + 120, (red - green) * 60 // safe + 240),
    )
    return np.where(chroma == 0, 0, hue), chroma * 255 // np.maximum(value, 1), value
