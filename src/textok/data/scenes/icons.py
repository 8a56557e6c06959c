"""Icons: one drawing in the middle of its own plain background, as in the data set icons-128."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from textok.data.scenes.drawings import Drawings

SIDE = 128

BACKGROUNDS = {
    "white": (255, 255, 255), "black": (16, 16, 16), "gray": (128, 128, 128), "navy blue": (20, 33, 91),
    "sky blue": (135, 206, 235), "teal": (0, 128, 128), "green": (60, 160, 70), "yellow": (250, 220, 60),
    "orange": (245, 140, 40), "red": (200, 40, 45), "purple": (112, 50, 140), "pink": (250, 170, 195),
    "beige": (235, 220, 185),
}  # fmt: skip


def draw_icon(drawings: Drawings, place: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The icon of a drawing, RGB: composed at 128 pixels as it was published, then resized."""
    background = BACKGROUNDS[drawings.rows[place].icon_background]
    canvas = Image.new("RGB", (SIDE, SIDE), background)
    image = drawings.straight(place)
    canvas.paste(image, (0, 0), image)
    return np.array(canvas if size == SIDE else canvas.resize((size, size), Image.Resampling.LANCZOS))
