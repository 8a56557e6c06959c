"""Composing a scene: which things, in which colours, where, on which background; pure facts, no pixels."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from textok.data.scenes.colours import ALIKE, ALIKE_BACKGROUNDS, BACKGROUNDS, RGB
from textok.data.scenes.drawings import Drawing, Drawings
from textok.data.scenes.facts import (
    BORDERS,
    GRID,
    Background,
    BackgroundKind,
    Box,
    Direction,
    Facts,
    Point,
    Size,
    Thing,
    overlap,
    square,
)
from textok.data.scenes.stream import Stream

MOST_THINGS = 4

_THINGS = {1: 30, 2: 40, 3: 20, 4: 10}
_COPIES = {2: 40, 3: 35, 4: 15, 5: 10}
_KINDS: dict[BackgroundKind, int] = {"plain": 60, "two-part": 20, "gradient": 20}
_MOST_DRAWINGS = 6
_TRIES = 40

SIDES: dict[Size, tuple[int, int]] = {"large": (286, 390), "medium": (180, 246), "small": (92, 150)}
_SIZES: dict[int, dict[Size, int]] = {
    1: {"small": 15, "medium": 30, "large": 55},
    2: {"small": 20, "medium": 45, "large": 35},
    3: {"small": 35, "medium": 50, "large": 15},
}
_CROWDED: dict[Size, int] = {"small": 60, "medium": 40}
_CLEAR = 12
"""No center lies so near to a border between left, center and right: a place is never a close call."""
_OVERLAP_TRIES = 8


class _Chosen(NamedTuple):
    """A drawing with its colour, before it has a place."""

    drawing: Drawing
    phrase: str
    colour: str
    turn: str


@dataclass(frozen=True, kw_only=True)
class Spot:
    """Where one thing lies with all its copies, as :class:`~textok.data.scenes.facts.Thing` has it."""

    size: Size
    side: int
    centers: tuple[Point, ...]
    arrangement: str = ""


def compose(stream: Stream, drawings: Drawings, *, most_things: int = MOST_THINGS) -> Facts:
    """The facts of one scene of 1 to 4 different drawings; they depend on its own stream and the drawings only."""
    chosen = _choose(stream, drawings, most_things)
    counts = [1] * len(chosen)
    if stream.chance(30):
        most = _MOST_DRAWINGS - len(chosen) + 1
        counts[stream.below(len(chosen))] = min(most, stream.weighted(_COPIES))
    spots = _lay_out(stream, counts)
    things = tuple(_thing(stream, one, spot) for one, spot in zip(chosen, spots, strict=True))
    return Facts(things=things, background=_background(stream, chosen))


def _choose(stream: Stream, drawings: Drawings, most: int) -> list[_Chosen]:
    count = min(most, stream.weighted(_THINGS))
    first = drawings.rows[stream.choice(drawings.usable)]
    pool = drawings.by_style[first.style] if stream.chance(75) else drawings.usable
    chosen = [_coloured(stream, first)]
    if count > 1 and stream.chance(20):
        chosen += _twin(stream, chosen[0])
    taken = {first.noun, first.concept}
    for _ in range(_TRIES):
        if len(chosen) >= count:
            break
        other = drawings.rows[stream.choice(pool)]
        if other.noun not in taken and other.concept not in taken:
            taken |= {other.noun, other.concept}
            chosen.append(_coloured(stream, other))
    return stream.shuffled(chosen)


def _coloured(stream: Stream, drawing: Drawing) -> _Chosen:
    if drawing.can_turn and stream.chance(50):
        return _turned(drawing, stream.choice(drawing.turns))
    return _Chosen(drawing, *drawing.own_words, turn="")


def _turned(drawing: Drawing, target: str) -> _Chosen:
    return _Chosen(drawing, drawing.plain_phrase, target, target)


def _twin(stream: Stream, one: _Chosen) -> list[_Chosen]:
    """The same drawing in another colour, so that a caption must bind colours to places; none where it has none."""
    targets = [target for target in one.drawing.turns if target != one.colour]
    possible = one.colour and one.drawing.can_turn and targets
    return [_turned(one.drawing, stream.choice(targets))] if possible else []


def _thing(stream: Stream, one: _Chosen, spot: Spot) -> Thing:
    drawing = one.drawing
    return Thing(
        drawing=drawing.key,
        concept=drawing.concept,
        phrase=one.phrase,
        style=drawing.style,
        keywords=drawing.keywords,
        colour=one.colour,
        turn=one.turn,
        mirrored=stream.chance(30) and drawing.can_be_mirrored,
        **vars(spot),
    )


def _background(stream: Stream, chosen: list[_Chosen]) -> Background:
    shown = set[str]()
    for one in chosen:  # the colours that cover a quarter of a drawing or more
        colors = one.drawing.colors
        shown |= {one.turn} if one.turn else {name for name, percent in colors if percent >= 25}
    avoided = {background for name in shown for background in ALIKE[name]}
    free = [name for name in BACKGROUNDS if name not in avoided]
    free = free or [name for name in BACKGROUNDS if name not in shown] or list(BACKGROUNDS)
    kind = stream.weighted(_KINDS)
    first = "white" if "white" in free and kind == "plain" and stream.chance(15) else stream.choice(free)
    rest = [name for name in free if name not in ALIKE_BACKGROUNDS[first]]
    if kind == "plain" or not rest:
        return Background(kind="plain", names=(first,), colours=(_varied(stream, first),))
    second = stream.choice(rest)
    direction: Direction = "vertical" if stream.chance(60) else "horizontal"
    colours = (_varied(stream, first), _varied(stream, second))
    split = stream.between(190, 322)
    return Background(kind=kind, names=(first, second), colours=colours, direction=direction, split=split)


def _varied(stream: Stream, name: str) -> RGB:
    red, green, blue = (max(0, min(255, value + stream.between(-10, 10))) for value in BACKGROUNDS[name])
    return red, green, blue


def _lay_out(stream: Stream, counts: list[int]) -> list[Spot]:
    """Spots for things with so many copies each, at most one of them with several; six copies in all at most."""
    arrangement = "" if max(counts) == 1 else stream.weighted({"row": 45, "column": 20, "scattered": 35})
    if arrangement == "scattered":
        return _scatter(stream, counts)
    sizes = [stream.weighted(_SIZES.get(sum(counts), _CROWDED)) for _ in counts]
    order = stream.shuffled(range(len(counts)))
    area = (0, 0, GRID, GRID)
    spots: dict[int, Spot] = {}
    if arrangement:
        group = counts.index(max(counts))
        order.remove(group)
        spots[group], area = _line(stream, sizes[group], counts[group], arrangement, has_others=bool(order))
    areas = _divide(stream, area, [SIDES[sizes[i]][0] for i in order])
    spots |= {i: _alone(stream, sizes[i], part) for i, part in zip(order, areas, strict=True)}
    laid = [spots[i] for i in range(len(counts))]
    return _overlapped(stream, laid) if len(order) > 1 and stream.chance(30) else laid


def _scatter(stream: Stream, counts: list[int]) -> list[Spot]:
    """Each copy in a cell of its own of a grid over the whole picture."""
    cells = 2 if sum(counts) <= 4 and stream.chance(50) else 3
    cell = GRID // cells
    free = iter(stream.shuffled([(x, y) for x in range(cells) for y in range(cells)]))
    spots = []
    for count in counts:
        size, side = _fitting(stream, stream.weighted(_CROWDED), cell)
        centers = []
        for x, y in [next(free) for _ in range(count)]:
            across = _within(stream, x * cell, x * cell + cell, side)
            centers.append((across, _within(stream, y * cell, y * cell + cell, side)))
        arrangement = "scattered" if count > 1 else ""
        spots.append(Spot(size=size, side=side, centers=tuple(centers), arrangement=arrangement))
    return spots


def _line(
    stream: Stream, wanted: Size, count: int, arrangement: str, *, has_others: bool
) -> tuple[Spot, Box]:
    """Copies in a row or a column from edge to edge, and the rest of the picture."""
    size, side = _fitting(stream, wanted, GRID * 16 // (17 * count - 1))
    step = side + side // 16
    thickness = stream.between(side, GRID - 2 * SIDES["small"][0]) if has_others else GRID
    at_start = stream.chance(50)
    low, high = (0, thickness) if at_start else (GRID - thickness, GRID)
    across = _within(stream, low, high, side)
    middle = _within(stream, 0, GRID, side + (count - 1) * step)
    line = [middle + (2 * i - count + 1) * step // 2 for i in range(count)]
    is_row = arrangement == "row"
    centers = tuple((along, across) if is_row else (across, along) for along in line)
    start, end = (thickness, GRID) if at_start else (0, GRID - thickness)
    rest = (0, start, GRID, end) if is_row else (start, 0, end, GRID)
    return Spot(size=size, side=side, centers=centers, arrangement=arrangement), rest


def _divide(stream: Stream, area: Box, needs: list[int]) -> list[Box]:
    """The area cut into one part for each need, in proportion and mostly across its longer side."""
    if len(needs) < 2:
        return [area] * len(needs)
    half = len(needs) // 2
    share = stream.between(-8, 8) + 100 * sum(needs[:half]) // sum(needs)
    left, top, right, bottom = area
    width, height = right - left, bottom - top
    if stream.chance(50) if 2 * abs(width - height) < width else width > height:
        cut = left + width * share // 100
        first, second = (left, top, cut, bottom), (cut, top, right, bottom)
    else:
        cut = top + height * share // 100
        first, second = (left, top, right, cut), (left, cut, right, bottom)
    return _divide(stream, first, needs[:half]) + _divide(stream, second, needs[half:])


def _alone(stream: Stream, wanted: Size, area: Box) -> Spot:
    left, top, right, bottom = area
    size, side = _fitting(stream, wanted, min(right - left, bottom - top))
    center = (_within(stream, left, right, side), _within(stream, top, bottom, side))
    return Spot(size=size, side=side, centers=(center,))


def _fitting(stream: Stream, wanted: Size, room: int) -> tuple[Size, int]:
    """The largest size up to the wanted one that has room, and a side of it."""
    smaller = list(SIDES)[list(SIDES).index(wanted) :]
    size = next((size for size in smaller if SIDES[size][0] <= room), smaller[-1])
    low, high = SIDES[size]
    return size, stream.between(low, max(low, min(high, room)))


def _within(stream: Stream, low: int, high: int, length: int) -> int:
    """The center of something so long between two edges; it may reach a little over those of the picture."""
    low = low + length // 2 - (length // 24 if low == 0 else 0)
    high = high - length // 2 + (length // 24 if high == GRID else 0)
    center = stream.between(low, high) if low < high else (low + high) // 2
    for border in BORDERS:
        if abs(center - border) < _CLEAR:
            ends = [end for end in (border - _CLEAR, border + _CLEAR) if low <= end <= high]
            return ends[0] if ends else border + (_CLEAR if border < center else -_CLEAR)
    return center


def _overlapped(stream: Stream, spots: list[Spot]) -> list[Spot]:
    """One single drawing moved over another, which it covers by 12 to 40 percent, where there is room for that."""
    singles = [i for i, spot in enumerate(spots) if len(spot.centers) == 1]
    for _ in range(_OVERLAP_TRIES):
        moved, other = stream.shuffled(singles)[:2]
        center = _beside(stream, spots[moved].side, spots[other])
        one, two = spots[moved], spots[other]
        box, covered = square(center, one.side), square(two.centers[0], two.side)
        rest = [square(c, s.side) for s in spots if s not in (one, two) for c in s.centers]
        fits = 12 <= overlap(box, covered) <= 40 and not any(overlap(box, part) for part in rest)
        least = one.side // 2 - one.side // 24  # so that nearly all of it lies within the picture
        within = all(least <= value <= GRID - least for value in center)
        clear = all(abs(value - border) >= _CLEAR for value in center for border in BORDERS)
        if fits and within and clear:
            spots[moved] = replace(one, centers=(center,))
            break
    return spots


def _beside(stream: Stream, side: int, other: Spot) -> Point:
    """A center from which a square covers a part of the other."""
    [(x, y)] = other.centers
    smaller = min(side, other.side)
    apart = (side + other.side) // 2 - smaller * stream.between(15, 45) // 100
    slide = abs(side - other.side) // 2 + smaller // 8
    apart, slide = apart if stream.chance(50) else -apart, stream.between(-slide, slide)
    return (x + apart, y + slide) if stream.chance(50) else (x + slide, y + apart)
