"""Composing a scene: which things, in which colours, where, on which background; pure facts, no pixels."""

from typing import NamedTuple

from textok.data.scenes.colours import ALIKE, ALIKE_BACKGROUNDS, BACKGROUNDS, RGB
from textok.data.scenes.drawings import Drawing, Drawings
from textok.data.scenes.facts import Background, BackgroundKind, Direction, Facts, Thing
from textok.data.scenes.placement import Spot, lay_out
from textok.data.scenes.stream import Stream

MOST_THINGS = 4

_THINGS = {1: 30, 2: 40, 3: 20, 4: 10}
_COPIES = {2: 40, 3: 35, 4: 15, 5: 10}
_KINDS: dict[BackgroundKind, int] = {"plain": 60, "two-part": 20, "gradient": 20}
_MOST_DRAWINGS = 6
_TRIES = 40


class _Chosen(NamedTuple):
    """A drawing with its colour, before it has a place."""

    drawing: Drawing
    phrase: str
    colour: str
    turn: str


def compose(stream: Stream, drawings: Drawings, *, most_things: int = MOST_THINGS) -> Facts:
    """The facts of one scene of 1 to 4 different drawings; they depend on its own stream and the drawings only."""
    chosen = _choose(stream, drawings, most_things)
    counts = [1] * len(chosen)
    if stream.chance(30):
        most = _MOST_DRAWINGS - len(chosen) + 1
        counts[stream.below(len(chosen))] = min(most, stream.weighted(_COPIES))
    spots = lay_out(stream, counts)
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
    phrase, colour = drawing.own_words
    return _Chosen(drawing, phrase, colour, "")


def _turned(drawing: Drawing, target: str) -> _Chosen:
    return _Chosen(drawing, drawing.plain_phrase, target, target)


def _twin(stream: Stream, one: _Chosen) -> list[_Chosen]:
    """The same drawing in another colour, so that a caption must bind colours to places; none where it has none."""
    targets = [target for target in one.drawing.turns if target != one.colour]
    if not one.colour or not one.drawing.can_turn or not targets:
        return []
    return [_turned(one.drawing, stream.choice(targets))]


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
    shown = {name for one in chosen for name in _shown(one)}
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


def _shown(one: _Chosen) -> list[str]:
    """The colours of a drawing that cover a quarter of it or more."""
    return [one.turn] if one.turn else [name for name, percent in one.drawing.colors if percent >= 25]


def _varied(stream: Stream, name: str) -> RGB:
    red, green, blue = (max(0, min(255, value + stream.between(-10, 10))) for value in BACKGROUNDS[name])
    return red, green, blue
