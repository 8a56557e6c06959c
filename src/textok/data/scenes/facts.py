"""What a scene holds: all that its picture and its captions are made from, and what a judge may ask."""

import json
from dataclasses import dataclass
from typing import Any, Literal

GRID = 512
"""Units along a side of the picture in which places and sizes are given."""

FILL = 92
"""Percent of its square that the longer side of a drawing takes."""

BORDERS = (205, 307)
"""Between them lies the center: 40 to 60 percent of the side."""

Size = Literal["small", "medium", "large"]
BackgroundKind = Literal["plain", "two-part", "gradient"]
Direction = Literal["vertical", "horizontal"]
Point = tuple[int, int]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One drawing in a scene, once or several times.

    Attributes:
        drawing, style: its key and its source set, such as "noto".
        concept: what it shows, a key that all styles share.
        phrase: noun phrase with its article, without a colour that the drawing does not have.
        colour: measured name, "red and white" for two, "" where no colour prevails or the words name it already.
        turn: the colour to which its hue was turned; "" if it is as drawn.
        size: what ``side`` amounts to.
        side: side of its square, in 512ths of the picture's.
        centers: (x, y) of each copy, in 512ths, from the top left; later ones lie over earlier ones.
        mirrored: whether left and right are exchanged.
        arrangement: "row", "column" or "scattered" for several copies, "" for one.
    """

    drawing: str
    concept: str
    phrase: str
    style: str
    keywords: tuple[str, ...]
    colour: str
    turn: str
    size: Size
    side: int
    centers: tuple[Point, ...]
    mirrored: bool
    arrangement: str = ""

    @property
    def count(self) -> int:
        """How many copies there are."""
        return len(self.centers)

    @property
    def center(self) -> Point:
        """The mean of its copies' centers, rounded down."""
        across, along = zip(*self.centers, strict=True)
        return sum(across) // len(across), sum(along) // len(along)

    @property
    def place(self) -> str:
        """Where its center lies in a grid of three by three: "top left", "top", ..., "center", ..., "bottom right"."""
        x, y = self.center
        across = "left" if x < BORDERS[0] else "right" if x > BORDERS[1] else ""
        along = "top" if y < BORDERS[0] else "bottom" if y > BORDERS[1] else ""
        return f"{along} {across}".strip() or "center"


@dataclass(frozen=True, kw_only=True)
class Background:
    """What lies behind: one colour, two parts, or a gradient from the first to the second, by names and as RGB.

    "vertical" goes from top to bottom, "horizontal" from left to right; the second part begins at ``split`` 512ths.
    """

    kind: BackgroundKind
    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    direction: Direction = "vertical"
    split: int = GRID // 2


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A scene: its things, the first drawn first, and its background."""

    things: tuple[Thing, ...]
    background: Background

    @property
    def total(self) -> int:
        """Drawings in the picture, copies included."""
        return sum(thing.count for thing in self.things)

    def relations(self) -> dict[tuple[int, int], str]:
        """How each thing lies to those before it, where it is clear; see :func:`relation`."""
        pairs = [(a, b) for a in range(len(self.things)) for b in range(a)]
        return {pair: name for pair in pairs if (name := relation(*(self.things[i] for i in pair)))}

    def to_json(self) -> str:
        """One line of JSON, with the places and counts by name."""
        named = [{**vars(thing), "count": thing.count, "place": thing.place} for thing in self.things]
        relations = [{"thing": a, "relation": name, "to": b} for (a, b), name in self.relations().items()]
        return json.dumps({"things": named, "background": vars(self.background), "relations": relations})

    @classmethod
    def from_json(cls, text: str) -> "Facts":
        """The facts that :meth:`to_json` wrote, without what follows from them; ``ValueError`` for another text."""
        try:
            record = json.loads(text)
            things = tuple(Thing(**_fields(entry)) for entry in record["things"])
            return cls(things=things, background=Background(**_fields(record["background"])))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"facts: got {text!r:.80}; expected the JSON of a scene ({error})") from error


def relation(thing: Thing, other: Thing) -> str:
    """How ``thing`` lies to ``other``: "left of", "right of", "above", "below", "" or "in front of".

    It is in front where it covers a part, if it is the one that is drawn later. Scattered copies lie on no side of
    anything, a row only above or below it, a column only left or right of it.
    """
    if thing.count == other.count == 1:
        one, two = square(thing.centers[0], thing.side), square(other.centers[0], other.side)
        if overlap(one, two) >= 10:
            return "in front of"
    (x, y), (u, v) = thing.center, other.center
    across, along = abs(x - u), abs(y - v)
    if max(across, along) < 80 or 10 * max(across, along) < 13 * min(across, along):
        return ""
    axes = {"scattered"} | ({"row"} if across > along else {"column"})
    if axes & {thing.arrangement, other.arrangement}:
        return ""
    if across > along:
        return "left of" if x < u else "right of"
    return "above" if y < v else "below"


def square(center: Point, side: int) -> Box:
    """Left, top, right, bottom of a copy's square, in 512ths; it may reach over the picture's edge."""
    left, top = center[0] - side // 2, center[1] - side // 2
    return left, top, left + side, top + side


def overlap(one: Box, other: Box) -> int:
    """The common area of two boxes, in percent of the smaller one."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0
    smaller = min((one[2] - one[0]) * (one[3] - one[1]), (other[2] - other[0]) * (other[3] - other[1]))
    return width * height * 100 // smaller


def _fields(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: _tuples(value) for name, value in entry.items() if name not in ("count", "place")}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
