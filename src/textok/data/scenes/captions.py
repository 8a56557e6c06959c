"""Captions of a scene at three densities from the same facts; each says no more than the facts do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from textok.data.scenes.drawings import STYLES
from textok.data.scenes.facts import Background, Facts, Thing, relation
from textok.data.scenes.phrases import (
    background_phrase,
    background_sentence,
    background_words,
    definite,
    extent,
    is_many,
    named,
    number,
    place_phrase,
    relation_phrase,
)
from textok.data.scenes.stream import Stream
from textok.data.scenes.words import listing, sentence, with_article

Density = Literal["name", "short", "dense"]
DENSITIES: tuple[Density, ...] = ("name", "short", "dense")
MIXED: dict[Density, int] = {"name": 20, "short": 35, "dense": 45}
"""How often each density is drawn when none is asked for."""

_DENSE_WORDS = (42, 64)
_MOST_DENSE_WORDS = 75


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A caption and what it says.

    Attributes:
        text: the caption.
        density: how much it says.
        told: the facts it tells, such as "thing:0", "colour:0", "place:1", "relation:1:0", "background".
    """

    text: str
    density: Density
    told: frozenset[str]


@dataclass
class _Writer:
    """One caption in the making: the scene, what is to be told, and the draws of phrasing."""

    facts: Facts
    told: frozenset[str]
    stream: Stream

    def tells(self, fact: str, *numbers: int) -> bool:
        return ":".join([fact, *map(str, numbers)]) in self.told

    def noun(self, i: int) -> str:
        return named(
            self.facts.things[i],
            self.stream,
            size=self.tells("size", i),
            colour=self.tells("colour", i),
        )

    def the(self, i: int) -> str:
        return definite(self.facts.things[i], colour=self.tells("colour", i) and _has_twin(self.facts, i))

    def relations(self) -> list[tuple[int, int]]:
        pairs = [fact.split(":")[1:] for fact in sorted(self.told) if fact.startswith("relation:")]
        return [(int(a), int(b)) for a, b in pairs]


def write_caption(facts: Facts, stream: Stream, density: Density | None = None) -> Caption:
    """A caption of a scene.

    What a denser caption of the same stream tells contains what a sparser one does. Colours, sizes, places,
    relations and the background are left out at random.

    Args:
        facts: the scene.
        stream: draws of this caption alone.
        density: how much it tells; None draws it.
    """
    drawn = stream.weighted(MIXED)
    density = density or drawn
    told = _plan(facts, stream)
    writer = _Writer(facts, told[density], stream)
    if density == "dense":
        return _dense(writer)
    text = _name(writer) if density == "name" else _short(writer)
    return Caption(text=text, density=density, told=told[density])


def _plan(facts: Facts, stream: Stream) -> dict[Density, frozenset[str]]:
    """What each density tells."""
    numbers = range(len(facts.things))
    name = {f"thing:{i}" for i in numbers} | {f"count:{i}" for i in numbers}
    name |= {f"colour:{i}" for i in numbers if _has_twin(facts, i)}
    coloured = {f"colour:{i}" for i in numbers if facts.things[i].colour and stream.chance(92)}
    pairs = [
        f"relation:{a}:{b}" for a in numbers for b in range(a) if relation(facts.things[a], facts.things[b])
    ]
    pairs = stream.shuffled(pairs)[:2] if stream.chance(85) else []
    placed = {f"place:{i}" for i in numbers if stream.chance(90)}
    background = {"background"} if stream.chance(92) else set()
    sized = {f"size:{i}" for i in numbers if stream.chance(85)}
    short = name | coloured | (background if stream.chance(65) else set())
    short |= set(pairs) if len(numbers) == 2 else placed if len(numbers) == 1 and stream.chance(50) else set()
    dense = name | short | background | sized | placed | set(pairs)
    return {"name": frozenset(name), "short": frozenset(short), "dense": frozenset(dense)}


def _has_twin(facts: Facts, i: int) -> bool:
    """Whether another thing is called alike, so that only the colour tells them apart."""
    phrase = facts.things[i].phrase
    return any(thing.phrase == phrase for j, thing in enumerate(facts.things) if j != i)


def _name(writer: _Writer) -> str:
    return listing(writer.stream.shuffled([writer.noun(i) for i in range(len(writer.facts.things))]))


def _short(writer: _Writer) -> str:
    facts, stream = writer.facts, writer.stream
    if pairs := writer.relations():
        text = _related(writer, *pairs[0], first=writer.noun, second=writer.noun)
    else:
        text = _name(writer)
    if writer.tells("place", 0) and len(facts.things) == 1:
        text = f"{text} {place_phrase(facts.things[0], stream)}"
    if not writer.tells("background"):
        return text
    behind = background_phrase(facts.background, stream)
    return f"{behind}, {text}" if stream.chance(20) else f"{text}{stream.choice((' ', ', '))}{behind}"


def _related(writer: _Writer, a: int, b: int, *, first, second, verb: bool = False) -> str:
    """Such as "A left of B" or "B right of A"."""
    things, stream = writer.facts.things, writer.stream
    name = relation(things[a], things[b])
    if stream.chance(50):
        a, b, name = b, a, _INVERSE[name]
    be = (" are" if is_many(things[a]) else " is") if verb else ""
    return f"{first(a)}{be} {relation_phrase(name, stream)} {second(b)}"


_INVERSE = {
    "left of": "right of", "right of": "left of", "above": "below", "below": "above", "in front of": "behind",
}  # fmt: skip


def _dense(writer: _Writer) -> Caption:
    facts, stream, told = writer.facts, writer.stream, set(writer.told)
    order = range(len(facts.things))
    order = list(order) if stream.chance(50) else stream.shuffled(list(order))
    body = _flowing(writer, order) if stream.chance(30) else [_thing_sentence(writer, i) for i in order]
    related = [
        sentence(_related(writer, *p, first=writer.the, second=writer.the, verb=True))
        for p in writer.relations()
    ]
    if writer.tells("background"):
        behind = background_sentence(facts.background, stream)
        body = [behind, *body] if stream.chance(30) else [*body, behind]
    for (a, b), text in zip(writer.relations(), related, strict=True):
        if _words([*body, text]) <= _MOST_DENSE_WORDS or len(facts.things) == 2:
            body.append(text)
        else:
            told.discard(f"relation:{a}:{b}")
    least = stream.between(*_DENSE_WORDS)
    for fact, text, at_front in _extras(writer):
        if _words(body) < least and _words([*body, text]) <= _MOST_DENSE_WORDS:
            body = [text, *body] if at_front else [*body, text]
            told.add(fact)
    return Caption(text=" ".join(body), density="dense", told=frozenset(told))


def _words(sentences: Sequence[str]) -> int:
    return sum(len(text.split()) for text in sentences)


def _thing_sentence(writer: _Writer, i: int) -> str:
    thing, noun = writer.facts.things[i], writer.noun(i)
    be = "are" if is_many(thing, noun=noun) else "is"
    if not writer.tells("place", i):
        return sentence(writer.stream.choice((f"there {be} {noun}", f"one sees {noun}", f"it shows {noun}")))
    place = place_phrase(thing, writer.stream)
    return sentence(
        writer.stream.choice(
            (
                f"{place}, there {be} {noun}",
                f"{noun} {be} {place}",
                f"{noun} can be seen {place}",
                f"there {be} {noun} {place}",
            )
        )
    )


def _flowing(writer: _Writer, order: Sequence[int]) -> list[str]:
    """All things in one sentence."""
    parts = []
    for i in order:
        place = place_phrase(writer.facts.things[i], writer.stream) if writer.tells("place", i) else ""
        parts.append(f"{writer.noun(i)} {place}".strip())
    opening = writer.stream.choice(("a picture of ", "in this picture: ", "", "a scene with "))
    return [sentence(f"{opening}{'; '.join(parts)}")]


def _extras(writer: _Writer) -> list[tuple[str, str, bool]]:
    """Further sentences, in random order: the fact, the text, and whether it stands in front."""
    facts, stream = writer.facts, writer.stream
    extras = [
        ("style", _style_sentence(facts, stream), stream.chance(70)),
        ("total", _total(facts, stream), False),
    ]
    for i, thing in enumerate(facts.things):
        extras.append((f"side:{i}", sentence(extent(thing, writer.the(i), stream)), False))
        if thing.keywords:
            extras.append((f"words:{i}", _keywords(thing, writer.the(i), stream), False))
    mixed = stream.shuffled(extras)
    if len(facts.things) == 1:
        mixed += [("background-colours", _no_more(facts.background, stream), False)]
    mixed.sort(key=lambda extra: extra[0] != "style" or not stream.chance(85))
    return mixed


def _style_sentence(facts: Facts, stream: Stream) -> str:
    styles = list(dict.fromkeys(thing.style for thing in facts.things))
    if len(styles) > 1:
        looks = listing([STYLES[style][0] for style in styles])
        return sentence(
            stream.choice((f"the drawings have different styles: {looks}", f"a mix of {looks} drawings"))
        )
    look, noun = STYLES[styles[0]]
    return sentence(
        stream.choice(
            (
                f"{with_article(look)} {noun} picture",
                f"drawn in {with_article(look)} style",
                f"the style is {look}",
            )
        )
    )


def _total(facts: Facts, stream: Stream) -> str:
    if facts.total == 1:
        return stream.choice(
            ("There is nothing else in the picture.", "It is the only drawing.", "Nothing else is seen.")
        )
    return stream.choice(
        (
            f"There are {number(facts.total)} drawings in total.",
            f"Altogether one counts {number(facts.total)} drawings.",
        )
    )


def _keywords(thing: Thing, name: str, stream: Stream) -> str:
    count = min(len(thing.keywords), stream.between(2, 4))
    words = listing(list(thing.keywords[:count]))
    s = "" if is_many(thing) else "s"
    return sentence(stream.choice((f"{name} bring{s} to mind {words}", f"words for {name}: {words}")))


def _no_more(background: Background, stream: Stream) -> str:
    """Says of a lone thing's background that it is empty, in as many words as it takes."""
    ground = background_words(background)
    return stream.choice(
        (
            f"All around it one sees nothing but the {ground} background, without any other shape or letter.",
            f"The rest of the picture is empty and shows only the {ground} background, with no other shapes.",
        )
    )


def as_density(name: str) -> Density | None:
    """A density by name; "mixed" is None, drawn for each caption.

    Raises:
        ValueError: for another word.
    """
    if name == "mixed":
        return None
    if name not in DENSITIES:
        raise ValueError(f"density: got {name!r}; expected one of {', '.join(DENSITIES)}, mixed")
    return cast(Density, name)
