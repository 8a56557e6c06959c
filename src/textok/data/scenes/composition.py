"""Composing a scene: which things, in which colours, where, on which background; pure facts, no pixels."""

from dataclasses import dataclass, replace

from textok.data.scenes.colours import ALIKE, BACKGROUNDS
from textok.data.scenes.drawings import Drawing, Drawings, noun_of
from textok.data.scenes.facts import (
    GRID,
    Background,
    BackgroundKind,
    Box,
    Direction,
    Facts,
    Size,
    Thing,
    box,
    mean_center,
    overlap,
    square,
)
from textok.data.scenes.stream import Stream

MOST_THINGS = 4

_THINGS = {1: 30, 2: 40, 3: 20, 4: 10}
_COPIES = {2: 40, 3: 35, 4: 15, 5: 10}
_SIDES: dict[Size, tuple[int, int]] = {"small": (92, 150), "medium": (180, 246), "large": (286, 390)}
_SIZES: dict[int, dict[Size, int]] = {
    1: {"small": 15, "medium": 30, "large": 55},
    2: {"small": 25, "medium": 50, "large": 25},
    3: {"small": 40, "medium": 55, "large": 5},
}
_CROWDED: dict[Size, int] = {"small": 65, "medium": 35}
_KINDS: dict[BackgroundKind, int] = {"plain": 60, "two-part": 20, "gradient": 20}
_MOST_DRAWINGS = 6
_BORDERS, _CLEAR = (205, 307), 12
"""No center lies within ``_CLEAR`` of a border between left, center and right: a place is never a close call."""
_TRIES = 40


@dataclass(frozen=True)
class _Chosen:
    """A drawing with its colour, before it has a place."""

    drawing: Drawing
    phrase: str
    colour: str
    turn: str


def compose(stream: Stream, drawings: Drawings, *, most_things: int = MOST_THINGS) -> Facts:
    """The facts of one scene; they depend on the stream and the drawings only.

    Args:
        stream: random draws of this scene alone.
        drawings: what it may show.
        most_things: different drawings at most, 1 to 4.
    """
    chosen = _choose(stream, drawings, most_things)
    copies = [1] * len(chosen)
    if stream.chance(30):
        most = _MOST_DRAWINGS - len(chosen) + 1
        copies[stream.below(len(chosen))] = min(most, stream.weighted(_COPIES))
    things = _lay_out(stream, chosen, copies)
    return Facts(things=tuple(things), background=_background(stream, chosen[: len(things)]))


def _choose(stream: Stream, drawings: Drawings, most: int) -> list[_Chosen]:
    count = stream.weighted({n: weight for n, weight in _THINGS.items() if n <= most})
    first = drawings.rows[stream.choice(drawings.usable)]
    pool = drawings.by_style[first.style] if stream.chance(75) else drawings.usable
    chosen = [_coloured(stream, first)]
    if count > 1 and stream.chance(20) and (twin := _twin(stream, chosen[0])):
        chosen.append(twin)
    for _ in range(_TRIES):
        if len(chosen) >= count:
            break
        other = drawings.rows[stream.choice(pool)]
        names = {noun_of(c.drawing) for c in chosen}
        if noun_of(other) not in names and other.concept not in {c.drawing.concept for c in chosen}:
            chosen.append(_coloured(stream, other))
    return stream.shuffled(chosen)


def _coloured(stream: Stream, drawing: Drawing) -> _Chosen:
    if drawing.can_turn and stream.chance(50):
        return _turned(drawing, stream.choice(drawing.turns))
    phrase, colour = drawing.own_words
    return _Chosen(drawing, phrase, colour, "")


def _turned(drawing: Drawing, target: str) -> _Chosen:
    return _Chosen(drawing, drawing.plain_phrase, target, target)


def _twin(stream: Stream, one: _Chosen) -> _Chosen | None:
    """The same drawing in another colour, so that a caption must bind colours to places; None where it has none."""
    targets = [target for target in one.drawing.turns if target != one.colour]
    if not one.colour or not one.drawing.can_turn or not targets:
        return None
    return _turned(one.drawing, stream.choice(targets))


def _lay_out(stream: Stream, chosen: list[_Chosen], copies: list[int]) -> list[Thing]:
    """Things with their places; one that does not fit, even small, is left out (never the first)."""
    total = sum(copies)
    may_overlap = stream.chance(25)
    things: list[Thing] = []
    for one, count in zip(chosen, copies, strict=True):
        size = stream.weighted(_SIZES.get(total, _CROWDED))
        for attempt in (size, "small", "small"):
            thing = _placed(stream, _thing(stream, one, attempt), count, things, may_overlap=may_overlap)
            if thing is not None:
                things.append(thing)
                break
    return things or [_in_the_middle(_thing(stream, chosen[0], "medium"))]


def _thing(stream: Stream, one: _Chosen, size: Size) -> Thing:
    return Thing(
        drawing=one.drawing.key,
        concept=one.drawing.concept,
        phrase=one.phrase,
        style=one.drawing.style,
        keywords=one.drawing.keywords,
        colour=one.colour,
        turn=one.turn,
        size=size,
        side=stream.between(*_SIDES[size]),
        centers=(),
        mirrored=stream.chance(30) and "left" not in one.phrase and "right" not in one.phrase,
    )


def _placed(
    stream: Stream, thing: Thing, count: int, others: list[Thing], *, may_overlap: bool
) -> Thing | None:
    arrangement = "" if count == 1 else stream.weighted({"row": 45, "column": 20, "scattered": 35})
    if arrangement in ("row", "column") and count * thing.side > GRID:
        thing = replace(thing, size="small", side=92)
    taken = [box(other, copy) for other in others for copy in range(other.count)]
    for _ in range(_TRIES):
        centers = _centers(stream, thing.side, count, arrangement)
        boxes = [square(center, thing.side) for center in centers]
        if _clear(mean_center(centers)) and _fits(boxes, taken, may_overlap=may_overlap and count == 1):
            return replace(thing, centers=centers, arrangement=arrangement)
    return None


def _centers(stream: Stream, side: int, count: int, arrangement: str) -> tuple[tuple[int, int], ...]:
    if arrangement not in ("row", "column"):
        return tuple((_along(stream, side), _along(stream, side)) for _ in range(count))
    length = (count - 1) * (side + side // 16)
    across, start = _along(stream, side), _along(stream, side + length) - length // 2
    line = [start + i * (side + side // 16) for i in range(count)]
    return tuple((x, across) if arrangement == "row" else (across, x) for x in line)


def _along(stream: Stream, length: int) -> int:
    """A center of something so long that (nearly) all of it is in the picture."""
    least = length // 2 - length // 24
    return GRID // 2 if 2 * least >= GRID else stream.between(least, GRID - least)


def _clear(center: tuple[int, int]) -> bool:
    return all(abs(value - border) >= _CLEAR for value in center for border in _BORDERS)


def _fits(boxes: list[Box], taken: list[Box], *, may_overlap: bool) -> bool:
    """No copy over another; at most one earlier thing is covered, and visibly so, by 12 to 40 percent."""
    if any(overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i]):
        return False
    shares = [share for a in boxes for b in taken if (share := overlap(a, b)) > 4]
    return not shares or (may_overlap and len(shares) == 1 and 12 <= shares[0] <= 40)


def _in_the_middle(thing: Thing) -> Thing:
    return replace(thing, centers=((GRID // 2, GRID // 2),))


def _background(stream: Stream, chosen: list[_Chosen]) -> Background:
    shown = {name for one in chosen for name in _shown(one)}
    avoided = {background for name in shown for background in ALIKE[name]}
    free = [name for name in BACKGROUNDS if name not in avoided]
    free = free or [name for name in BACKGROUNDS if name not in shown] or list(BACKGROUNDS)
    kind = stream.weighted(_KINDS)
    first = "white" if "white" in free and kind == "plain" and stream.chance(15) else stream.choice(free)
    rest = [name for name in free if not _alike(name, first)]
    if kind == "plain" or not rest:
        return Background(kind="plain", names=(first,), colours=(_varied(stream, first),))
    second = stream.choice(rest)
    direction: Direction = "vertical" if stream.chance(60) else "horizontal"
    colours = (_varied(stream, first), _varied(stream, second))
    split = stream.between(190, 322)
    return Background(kind=kind, names=(first, second), colours=colours, direction=direction, split=split)


def _shown(one: _Chosen) -> list[str]:
    """The colours of a drawing that cover a quarter of it or more."""
    if one.turn:
        return [one.turn]
    return [name for name, percent in one.drawing.colors if percent >= 25]


def _alike(name: str, other: str) -> bool:
    near = {"navy blue": ("black", "blue", "purple"), "sky blue": ("teal", "blue", "white")}
    pairs = ALIKE | near
    return other == name or other in pairs.get(name, ()) or name in pairs.get(other, ())


def _varied(stream: Stream, name: str) -> tuple[int, int, int]:
    red, green, blue = (max(0, min(255, value + stream.between(-10, 10))) for value in BACKGROUNDS[name])
    return red, green, blue
