"""Wrong captions of scenes that differ from a right one in exactly one fact."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from textok.data.scenes.captions import Caption, Density, write_caption
from textok.data.scenes.colours import ALIKE, BACKGROUNDS, TURNS
from textok.data.scenes.drawings import Drawings
from textok.data.scenes.facts import GRID, Facts
from textok.data.scenes.stream import Stream
from textok.data.scenes.words import parse_noun

KINDS = ("thing", "colour", "place", "count", "background")

_TRIES = 60  # of each kind


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
        kind: which fact to change; None draws one of those that can be, each as likely.

    Returns:
        Both captions; None where no such fact can be changed alone.

    Raises:
        ValueError: for an unknown kind.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind: got {kind!r}; expected one of {', '.join(KINDS)}")
    for chosen in [kind] if kind else stream.shuffled(KINDS):
        for _ in range(_TRIES):
            number = None if chosen == "background" else stream.below(len(facts.things))
            changed = _CHANGES[chosen](facts, number or 0, stream, drawings)
            words = stream.below(1 << 62)
            if changed and (result := _both(facts, changed, chosen, number, words, density)):
                return result
    return None


def _both(
    facts: Facts, changed: Facts, kind: str, number: int | None, words: int, density: Density
) -> ChangedCaption | None:
    """Both captions in the words of one stream; None where the fact is not told, or not the only difference."""
    right = write_caption(facts, Stream(words), density)
    fact = kind if number is None else f"{kind}:{number}"
    if fact not in right.told or _told_relations(facts, right) != _told_relations(changed, right):
        return None
    wrong = write_caption(changed, Stream(words), density)
    if right.told != wrong.told or right.text == wrong.text:
        return None
    return ChangedCaption(
        right=right,
        wrong=wrong,
        facts=changed,
        fact=kind,
        number=number,
        before=_value(facts, kind, number),
        after=_value(changed, kind, number),
    )


def _told_relations(facts: Facts, caption: Caption) -> list[str]:
    return [name for (a, b), name in facts.relations().items() if f"relation:{a}:{b}" in caption.told]


def _value(facts: Facts, kind: str, number: int | None) -> str:
    if number is None:
        return " and ".join(facts.background.names)
    return str(getattr(facts.things[number], "phrase" if kind == "thing" else kind))


def _changed(facts: Facts, number: int, **fields: Any) -> Facts:
    """The same scene with fields of one thing replaced."""
    things = list(facts.things)
    things[number] = replace(things[number], **fields)
    return replace(facts, things=tuple(things))


def _other_thing(facts: Facts, number: int, stream: Stream, drawings: Drawings) -> Facts | None:
    thing = facts.things[number]
    other = drawings.rows[stream.choice(drawings.usable)]
    phrase = other.plain_phrase
    if not phrase or "skin" in phrase or other.concept == thing.concept:
        return None
    if bool(other.keywords) != bool(thing.keywords):
        return None
    nouns = {parse_noun(t.phrase).text.split()[-1] for t in facts.things}
    is_alike = bool(parse_noun(phrase).plural) == bool(parse_noun(thing.phrase).plural)
    if not is_alike or parse_noun(phrase).text.split()[-1] in nouns:
        return None
    return _changed(
        facts, number, drawing=other.key, concept=other.concept, phrase=phrase, keywords=other.keywords
    )


def _other_colour(facts: Facts, number: int, stream: Stream, _drawings: Drawings) -> Facts | None:
    thing, colour = facts.things[number], stream.choice(list(TURNS))
    taken = {other.colour for other in facts.things if other.phrase == thing.phrase}
    near = {name for part in thing.colour.split(" and ") for name in (part, *ALIKE.get(part, ()))}
    if not thing.colour or colour in taken | near:
        return None
    return _changed(facts, number, colour=colour, turn=colour)


def _other_place(facts: Facts, number: int, stream: Stream, _drawings: Drawings) -> Facts | None:
    thing = facts.things[number]
    if thing.arrangement == "scattered":
        return None
    shift_x, shift_y = stream.between(-GRID, GRID), stream.between(-GRID, GRID)
    centers = tuple((x + shift_x, y + shift_y) for x, y in thing.centers)
    least = thing.side // 3
    if not all(least <= value <= GRID - least for center in centers for value in center):
        return None
    moved = _changed(facts, number, centers=centers)
    return moved if moved.things[number].place != thing.place else None


def _other_count(facts: Facts, number: int, stream: Stream, _drawings: Drawings) -> Facts | None:
    thing = facts.things[number]
    count = stream.between(1, 5)
    if count == thing.count or (count == 1 and thing.arrangement):
        return None
    x, y = thing.center
    step = min(thing.side, GRID // (count + 1))
    centers = tuple((x + (2 * i - count + 1) * step // 2, y) for i in range(count))
    return _changed(facts, number, centers=centers)


def _other_background(facts: Facts, _number: int, stream: Stream, _drawings: Drawings) -> Facts | None:
    background, place = facts.background, stream.below(len(facts.background.names))
    name = stream.choice(list(BACKGROUNDS))
    near = {other for known in background.names for other in (known, *ALIKE.get(known.split()[-1], ()))}
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
