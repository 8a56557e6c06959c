"""Drawing a scene's facts, or an icon, in Pillow's integer arithmetic."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from textok.data.scenes import TABLES
from textok.data.scenes.colours import turn
from textok.data.scenes.drawings import Drawings
from textok.data.scenes.facts import GRID, Background, Facts, Thing

SMALLEST, LARGEST = 64, 512
_ICON_SIDE = 128


def draw_scene(facts: Facts, drawings: Drawings, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The picture of a scene, RGB, of 64 to 512 pixels a side; ``ValueError`` for another size."""
    check_scene_size(size)
    canvas = draw_background(facts.background, size)
    for thing in facts.things:
        picture, mask = draw_thing(thing, drawings, size)
        half = picture.width // 2
        for x, y in thing.centers:
            corner = ((x * size + GRID // 2) // GRID - half, (y * size + GRID // 2) // GRID - half)
            canvas.paste(picture, corner, mask)
    return np.array(canvas)


def check_scene_size(size: int) -> None:
    """Raise ``ValueError`` unless scenes can be drawn with so many pixels a side."""
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size: got {size}; expected {SMALLEST} to {LARGEST} pixels a side for scenes")


def draw_background(background: Background, size: int) -> Image.Image:
    """The background alone, RGB."""
    first, last = background.colours[0], background.colours[-1]
    if background.kind == "gradient":
        levels = [
            a + (b - a) * step // (size - 1) for step in range(size) for a, b in zip(first, last, strict=True)
        ]
        shape = (1, size) if background.direction == "vertical" else (size, 1)
        return Image.frombytes("RGB", shape, bytes(levels)).resize((size, size), Image.Resampling.NEAREST)
    canvas = Image.new("RGB", (size, size), first)
    if background.kind == "two-part":
        split = background.split * size // GRID
        left, top = (0, split) if background.direction == "vertical" else (split, 0)
        canvas.paste(last, (left, top, size, size))
    return canvas


def draw_thing(thing: Thing, drawings: Drawings, size: int) -> tuple[Image.Image, Image.Image]:
    """One copy of a thing for a picture of ``size``: its colours and its opacity, to be pasted together.

    As drawn it is premultiplied RGBA, which is its own mask; turned it is RGB, with a mask of its own.
    """
    place = drawings.places[thing.drawing]
    side = max(4, (thing.side * size + GRID // 2) // GRID)
    image = drawings.image(place, side)
    if image.width != side:
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    if thing.mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if not thing.turn:
        return image, image
    straight = image.convert("RGBA")
    return turn(straight.convert("RGB"), drawings.rows[place].hsv, thing.turn), straight


def draw_icon(place: int, drawings: Drawings, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """A drawing in the middle of its own plain background, RGB: composed at 128 pixels as icons-128, then resized."""
    background = tuple(TABLES["icon backgrounds"][drawings.rows[place].icon_background])
    canvas = Image.new("RGB", (_ICON_SIDE, _ICON_SIDE), background)
    image = drawings.straight(place)
    canvas.paste(image, (0, 0), image)
    return np.array(canvas if size == _ICON_SIDE else canvas.resize((size, size), Image.Resampling.LANCZOS))
