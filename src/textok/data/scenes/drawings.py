"""The drawings that scenes are made of, their words and colours, and drawing with them, by integer arithmetic only."""

import io
from collections import OrderedDict
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import UInt8
from PIL import Image

from textok.data.files import fingerprint_files
from textok.data.scenes import TABLES
from textok.data.scenes.colours import colour_of, turn
from textok.data.scenes.facts import GRID, Background, Facts, Thing
from textok.data.scenes.words import colour_words, parse_noun, without_colours

SPLITS = ("train", "val", "test-drawing", "test-concept")
FOLDER = Path("datasets") / "drawings-rgba"

CACHE_BYTES = 256 << 20
"""Decoded pixels that one process keeps: all train drawings for scenes up to 64 px (244 MB), a quarter for larger."""

_SIDE = 128
SMALLEST, LARGEST = 64, 512
_NOT_MIRRORED = frozenset(TABLES["not mirrored"])
_LONGEST_PHRASE = 8  # words
_LEAST_COVER = 6  # percent
_ADVICE = (
    "the drawings (55 MB) lie in datasets/drawings-rgba of the repository, not in the wheel: run in a clone, or "
    "copy that folder and name it: scenes:drawings=FOLDER"
)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One drawing, of a source set (``style``), without its pixels.

    Attributes:
        concept: what it shows, a key that all styles share.
        colors: measured names with their percent, the largest first.
        hsv: typical hue (in 256ths), saturation and value of the first of them.
        turns: colours to which it can be turned.
        cover: percent of its square that is opaque.
        icon_key, icon_caption, icon_background: those of the same drawing in icons-128.
    """

    key: str
    icon_key: str
    style: str
    concept: str
    phrase: str
    keywords: tuple[str, ...]
    colors: tuple[tuple[str, int], ...]
    hsv: tuple[int, int, int]
    turns: tuple[str, ...]
    cover: int
    icon_caption: str
    icon_background: str

    @cached_property
    def plain_phrase(self) -> str:
        """The phrase without colour words; "" where it does not read well without."""
        return without_colours(self.phrase) if colour_words(self.phrase) else self.phrase

    @cached_property
    def colour(self) -> str:
        """The measured colour; "" where many colours share it, or for skin and flags, where it says little."""
        says_little = "skin" in self.phrase or self.phrase.startswith("the flag")
        return "" if says_little else colour_of(self.colors)

    @cached_property
    def can_turn(self) -> bool:
        """Whether it may be shown in another colour without making its words untrue."""
        fixed = "skin" in self.phrase or "flag" in self.phrase or not self.plain_phrase
        return bool(self.turns) and not fixed

    @cached_property
    def can_be_mirrored(self) -> bool:
        """Whether left and right mean nothing in it, as they do in letters and flags."""
        return not _NOT_MIRRORED & set(self.phrase.lower().replace("-", " ").split())

    @cached_property
    def usable(self) -> bool:
        """Whether scenes use it: enough is opaque; its words are short, say what is seen, and no colour it has not."""
        if self.cover < _LEAST_COVER or len(self.phrase.split()) > _LONGEST_PHRASE:
            return False
        if self.phrase.startswith("a computer icon for"):
            return False
        return bool(self.plain_phrase) or not self.colour or self.colour in colour_words(self.phrase)

    @cached_property
    def noun(self) -> str:
        """The last word of what it is called: two drawings with the same one are called alike."""
        return parse_noun(self.phrase).text.split()[-1].lower()

    @cached_property
    def own_words(self) -> tuple[str, str]:
        """Its phrase and its colour as drawn; a colour that the phrase names itself is not said twice."""
        return (self.plain_phrase, self.colour) if self.colour and self.plain_phrase else (self.phrase, "")


class Drawings:
    """The drawings of one of ``SPLITS``, in ``SPLIT.parquet`` of a folder; errors say what is missing there."""

    def __init__(self, folder: Path, split: str) -> None:
        if split not in SPLITS:
            raise ValueError(f"split: got {split!r}; expected one of {', '.join(SPLITS)}")
        self.path = folder / f"{split}.parquet"
        if not self.path.is_file():
            raise FileNotFoundError(f"drawings: got {folder}, which lacks {self.path.name}; {_ADVICE}")
        table, columns = pq.read_table(self.path), [column.name for column in fields(Drawing)]
        if lacking := {"image", *columns} - set(table.column_names):
            raise ValueError(f"{self.path}: got no columns {sorted(lacking)}; build it with datasets/build")
        self._bytes = table["image"].combine_chunks()
        self.rows = [_drawing(row) for row in table.select(columns).to_pylist()]
        self.fingerprint = fingerprint_files([self.path], len(self.rows))
        self._cache: OrderedDict[tuple[int, int], Image.Image] = OrderedDict()
        self._cached_bytes = 0

    @cached_property
    def usable(self) -> list[int]:
        """Places of the drawings that scenes use."""
        return [place for place, drawing in enumerate(self.rows) if drawing.usable]

    @cached_property
    def by_style(self) -> dict[str, list[int]]:
        """The usable ones by their style."""
        groups: dict[str, list[int]] = {}
        for place in self.usable:
            groups.setdefault(self.rows[place].style, []).append(place)
        return groups

    @cached_property
    def places(self) -> dict[str, int]:
        """The place of each drawing by its key."""
        return {drawing.key: place for place, drawing in enumerate(self.rows)}

    def image(self, place: int, side: int) -> Image.Image:
        """The drawing in premultiplied RGBA, at most ``side`` x ``side`` but not larger than half or all of 128."""
        half = _SIDE // 2
        key = place, half if side <= half else _SIDE
        if key not in self._cache:
            image = self.straight(place).convert("RGBa")
            self._cache[key] = image if key[1] == _SIDE else image.reduce(2)
            self._cached_bytes += 4 * key[1] ** 2
            while self._cached_bytes > CACHE_BYTES:
                (_, least_used), _ = self._cache.popitem(last=False)
                self._cached_bytes -= 4 * least_used**2
        self._cache.move_to_end(key)
        return self._cache[key]

    def straight(self, place: int) -> Image.Image:
        """The drawing as stored, RGBA of 128 x 128."""
        return Image.open(io.BytesIO(self._bytes[place].as_py())).convert("RGBA")


def drawings_folder(folder: str | None) -> Path:
    """The folder with the drawings: the named one, that of the working directory, or that of this clone."""
    candidates = [Path(folder)] if folder else [FOLDER, Path(__file__).resolve().parents[4] / FOLDER]
    if there := next(filter(Path.is_dir, candidates), None):
        return there
    raise FileNotFoundError(f"drawings: got no folder {' or '.join(map(str, candidates))}; {_ADVICE}")


def _drawing(row: dict[str, Any]) -> Drawing:
    row["colors"] = [(color["name"], color["percent"]) for color in row["colors"]]
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
    }
    return Drawing(**values)


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
    canvas = Image.new("RGB", (_SIDE, _SIDE), background)
    image = drawings.straight(place)
    canvas.paste(image, (0, 0), image)
    return np.array(canvas if size == _SIDE else canvas.resize((size, size), Image.Resampling.LANCZOS))
