"""Wrong captions that differ from a right one in exactly one fact."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from textok.data.scenes.captions import Caption, Density, write_caption
from textok.data.scenes.colours import ALIKE, BACKGROUNDS, TURNS
from textok.data.scenes.drawings import Drawings
from textok.data.scenes.facts import GRID, Facts, Thing, relation
from textok.data.scenes.stream import Stream
from textok.data.scenes.words import parse_noun

KINDS = ("thing", "colour", "place", "count", "background")

_TRIES = 100


@dataclass(frozen=True, kw_only=True)
class ChangedCaption:
    """A right caption and a wrong one of the same scene, in the same words but for one fact.

    Attributes:
        right: what is true of the scene.
        wrong: the same with one fact changed.
        facts: the scene of which the wrong caption is true.
        fact: which one: one of ``KINDS``.
        number: of the thing that it is about; None for the background.
        before: what it was.
        after: what the wrong caption says instead.
    """

    right: Caption
    wrong: Caption
    facts: Facts
    fact: str
    number: int | None
    before: str
    after: str


def one_fact_changed(
    facts: Facts,
    stream: Stream,
    drawings: Drawings,
    *,
    density: Density = "dense",
    kind: str | None = None,
) -> ChangedCaption | None:
    """Change one fact that a caption of the scene tells.

    Args:
        facts: the scene.
        stream: draws of this change alone.
        drawings: where another thing is taken from.
        density: of both captions.
        kind: which fact to change; None draws one of those that can be.

    Returns:
        Both captions; None where no such fact can be changed alone.

    Raises:
        ValueError: for an unknown kind.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind: got {kind!r}; expected one of {', '.join(KINDS)}")
    for _ in range(_TRIES):
        chosen, words = kind or stream.choice(KINDS), stream.below(1 << 62)
        number = None if chosen == "background" else stream.below(len(facts.things))
        changed = _CHANGES[chosen](facts, number or 0, stream, drawings)
        if changed is None or _relations(changed) != _relations(facts):
            continue
        right = write_caption(facts, Stream(words), density)
        wrong = write_caption(changed, Stream(words), density)
        fact = chosen if number is None else f"{chosen}:{number}"
        if fact in right.told and right.told == wrong.told and right.text != wrong.text:
            before, after = _value(facts, chosen, number), _value(changed, chosen, number)
            return ChangedCaption(
                right=right,
                wrong=wrong,
                facts=changed,
                fact=chosen,
                number=number,
                before=before,
                after=after,
            )
    return None


def _relations(facts: Facts) -> list[str]:
    things = facts.things
    return [relation(things[a], things[b]) for a in range(len(things)) for b in range(a)]


def _value(facts: Facts, kind: str, number: int | None) -> str:
    if number is None:
        return " and ".join(facts.background.names)
    thing = facts.things[number]
    return {"thing": thing.phrase, "colour": thing.colour, "place": thing.place, "count": str(thing.count)}[
        kind
    ]


def _other_thing(facts: Facts, number: int, stream: Stream, drawings: Drawings) -> Facts | None:
    thing = facts.things[number]
    other = drawings.rows[stream.choice(drawings.usable)]
    phrase = other.plain_phrase
    named = {parse_noun(t.phrase).text.split()[-1] for t in facts.things}
    fits = bool(phrase) and bool(other.keywords) == bool(thing.keywords) and "skin" not in phrase
    fits = fits and bool(parse_noun(phrase).plural) == bool(parse_noun(thing.phrase).plural)
    if not fits or other.concept == thing.concept or parse_noun(phrase).text.split()[-1] in named:
        return None
    return facts.changed(
        number, drawing=other.key, concept=other.concept, phrase=phrase, keywords=other.keywords
    )


def _other_colour(facts: Facts, number: int, stream: Stream, _drawings: Drawings) -> Facts | None:
    thing, colour = facts.things[number], stream.choice(list(TURNS))
    taken = {other.colour for other in facts.things if other.phrase == thing.phrase}
    near = {name for part in thing.colour.split(" and ") for name in (part, *ALIKE.get(part, ()))}
    if not thing.colour or colour in taken | near:
        return None
    return facts.changed(number, colour=colour, turn=colour)


def _other_place(facts: Facts, number: int, stream: Stream, _drawings: Drawings) -> Facts | None:
    thing = facts.things[number]
    if thing.arrangement == "scattered":
        return None
    shift_x, shift_y = stream.between(-GRID // 2, GRID // 2), stream.between(-GRID // 2, GRID // 2)
    centers = tuple((x + shift_x, y + shift_y) for x, y in thing.centers)
    moved = facts.changed(number, centers=centers)
    inside = all(thing.side // 3 <= value <= GRID - thing.side // 3 for center in centers for value in center)
    return moved if inside and moved.things[number].place != thing.place else None


def _other_count(facts: Facts, number: int, stream: Stream, _drawings: Drawings) -> Facts | None:
    thing = facts.things[number]
    count = stream.between(1, 5)
    if count == thing.count or ((count == 1) != (thing.arrangement == "") and thing.count > 1):
        return None
    return facts.changed(number, centers=_spread(thing, count))


def _spread(thing: Thing, count: int) -> tuple[tuple[int, int], ...]:
    """So many centers side by side, with the same mean."""
    x, y = thing.center
    step = min(thing.side, GRID // (count + 1))
    return tuple((x + (2 * i - count + 1) * step // 2, y) for i in range(count))


def _other_background(facts: Facts, _number: int, stream: Stream, _drawings: Drawings) -> Facts | None:
    background, place = facts.background, stream.below(len(facts.background.names))
    name = stream.choice(list(BACKGROUNDS))
    near = {other for told in background.names for other in (told, *ALIKE.get(told.split()[-1], ()))}
    if name in near:
        return None
    names, colours = list(background.names), list(background.colours)
    names[place], colours[place] = name, BACKGROUNDS[name]
    return replace(facts, background=replace(background, names=tuple(names), colours=tuple(colours)))


_CHANGES: dict[str, Callable[[Facts, int, Stream, Drawings], Facts | None]] = {
    "thing": _other_thing,
    "colour": _other_colour,
    "place": _other_place,
    "count": _other_count,
    "background": _other_background,
}
