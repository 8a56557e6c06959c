"""Drawing a scene's facts: premultiplied pixels over a background, in integers."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from textok.data.scenes.colours import turn
from textok.data.scenes.drawings import Drawings
from textok.data.scenes.facts import GRID, Background, Facts, Thing

SMALLEST, LARGEST = 64, 512


def draw_scene(facts: Facts, drawings: Drawings, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The picture of a scene, RGB.

    Args:
        facts: what it shows.
        drawings: where the drawings are.
        size: pixels a side, 64 to 512.

    Raises:
        ValueError: for a size out of range.
    """
    check_scene_size(size)
    canvas = draw_background(facts.background, size)
    for thing in facts.things:
        pixels = thing_pixels(thing, drawings, size)
        for x, y in thing.centers:
            side = len(pixels)
            _blend(
                canvas,
                pixels,
                (x * size + GRID // 2) // GRID - side // 2,
                (y * size + GRID // 2) // GRID - side // 2,
            )
    return canvas


def check_scene_size(size: int) -> None:
    """Raise ``ValueError`` unless scenes can be drawn with so many pixels a side."""
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size: got {size}; expected {SMALLEST} to {LARGEST} pixels a side for scenes")


def draw_background(background: Background, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The background alone."""
    first, last = np.array(background.colours[0]), np.array(background.colours[-1])
    steps = np.arange(size)
    if background.kind == "gradient":
        line = first + (last - first) * steps[:, None] // (size - 1)
    else:
        split = size if background.kind == "plain" else background.split * size // GRID
        line = np.where(steps[:, None] < split, first, last)
    line = line.astype(np.uint8)
    canvas = np.empty((size, size, 3), np.uint8)
    canvas[:] = line[:, None] if background.direction == "vertical" else line[None]
    return canvas


def thing_pixels(thing: Thing, drawings: Drawings, size: int) -> UInt8[np.ndarray, "side side 4"]:
    """One copy of a thing for a picture of ``size``, premultiplied RGBA."""
    place = drawings.places[thing.drawing]
    side = max(4, (thing.side * size + GRID // 2) // GRID)
    image = drawings.image(place, side)
    if image.size[0] != side:
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    if thing.turn:
        turned = turn(Image.fromarray(pixels[..., :3]), drawings.rows[place].hsv, thing.turn)
        pixels = np.dstack([np.minimum(np.asarray(turned), pixels[..., 3:]), pixels[..., 3]])
    return pixels[:, ::-1] if thing.mirrored else pixels


def _blend(canvas: np.ndarray, pixels: np.ndarray, left: int, top: int) -> None:
    """Lay premultiplied pixels over a part of the canvas; what reaches over its edge is cut."""
    size, side = len(canvas), len(pixels)
    rows, columns = slice(max(0, top), min(size, top + side)), slice(max(0, left), min(size, left + side))
    part = pixels[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    under = canvas[rows, columns] * (255 - part[..., 3:]).astype(np.uint16) + 128
    canvas[rows, columns] = part[..., :3] + ((under + (under >> 8)) >> 8).astype(np.uint8)
