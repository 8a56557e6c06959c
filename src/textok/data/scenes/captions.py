"""Captions of a scene at three densities from the same facts; each says no more than the facts do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from textok.data.scenes.facts import Facts
from textok.data.scenes.stream import Stream
from textok.data.scenes.words import (
    background_text,
    definite,
    extra_sentences,
    is_many,
    listing,
    named,
    place_phrase,
    related,
    say,
    sentence,
)

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


def write_caption(facts: Facts, stream: Stream, density: Density | None = None) -> Caption:
    """A caption of a scene, in a density or one that is drawn, by the draws of this caption alone.

    What a denser caption of the same stream tells contains what a sparser one does. Colours, sizes, places,
    relations and the background are left out at random.
    """
    drawn = stream.weighted(MIXED)
    writer = _Writer(facts, stream, density or drawn)
    text = {"name": writer.name, "short": writer.short, "dense": writer.dense}[writer.density]()
    return Caption(text=text, density=writer.density, told=frozenset(writer.told))


def as_density(name: str) -> Density | None:
    """A density by name; "mixed" is None, drawn for each caption; ``ValueError`` for another word."""
    if name != "mixed" and name not in DENSITIES:
        raise ValueError(f"density: got {name!r}; expected one of {', '.join(DENSITIES)}, mixed")
    return None if name == "mixed" else cast(Density, name)


class _Writer:
    """One caption in the making: the scene, what is to be told, and the draws of phrasing."""

    def __init__(self, facts: Facts, stream: Stream, density: Density) -> None:
        self.facts, self.stream, self.density = facts, stream, density
        self.numbers = range(len(facts.things))
        phrases = [thing.phrase for thing in facts.things]
        self.has_twin = [phrases.count(phrase) > 1 for phrase in phrases]
        self.told, self.relations = self._plan()

    def _plan(self) -> tuple[set[str], dict[tuple[int, int], str]]:
        """What this density tells; the same numbers are drawn whatever the density and the facts."""
        stream, numbers, things = self.stream, self.numbers, self.facts.things
        coloured = [stream.chance(92) for _ in numbers]
        pairs = stream.shuffled([(a, b) for a in numbers for b in range(a)])
        related, placed = stream.chance(85), [stream.chance(90) for _ in numbers]
        sized, background = [stream.chance(85) for _ in numbers], stream.chance(92)
        short_background, short_place = stream.chance(65), stream.chance(50)
        told = {f"{fact}:{i}" for fact in ("thing", "count") for i in numbers}
        told |= {f"colour:{i}" for i in numbers if self.has_twin[i]}
        if self.density == "name":
            return told, {}
        is_dense = self.density == "dense"
        told |= {f"colour:{i}" for i in numbers if things[i].colour and coloured[i]}
        if background and (is_dense or short_background):
            told.add("background")
        if is_dense or (short_place and len(things) == 1):
            told |= {f"place:{i}" for i in numbers if placed[i]}
        if is_dense:
            told |= {f"size:{i}" for i in numbers if sized[i]}
        known = self.facts.relations() if related and (is_dense or len(things) == 2) else {}
        relations = {pair: known[pair] for pair in [pair for pair in pairs if pair in known][:2]}
        return told | {f"relation:{a}:{b}" for a, b in relations}, relations

    def name(self) -> str:
        return listing(self.stream.shuffled([self._noun(i) for i in self.numbers]))

    def short(self) -> str:
        if self.relations:
            [(pair, name)] = self.relations.items()
            first, relation, second = related(self.stream, name, pair)
            text = f"{self._noun(first)} {relation} {self._noun(second)}"
        else:
            text = self.name()
        if "place:0" in self.told:
            text = f"{text} {place_phrase(self.facts.things[0], self.stream)}"
        if "background" not in self.told:
            return text
        behind = background_text(self.facts.background, self.stream)
        in_front = self.stream.chance(20)
        return f"{behind}, {text}" if in_front else f"{text}{self.stream.choice((' ', ', '))}{behind}"

    def dense(self) -> str:
        stream = self.stream
        order = list(self.numbers) if stream.chance(50) else stream.shuffled(self.numbers)
        body = self._flowing(order) if stream.chance(30) else [self._thing_sentence(i) for i in order]
        if "background" in self.told:
            behind = sentence(background_text(self.facts.background, stream, "background sentence"))
            body.insert(0 if stream.chance(30) else len(body), behind)
        names = [definite(t, colour=self.has_twin[i]) for i, t in enumerate(self.facts.things)]
        relations = [
            (f"relation:{a}:{b}", self._relation_sentence(name, (a, b), names))
            for (a, b), name in self.relations.items()
        ]
        extras = extra_sentences(self.facts, names, stream)
        self.told -= {fact for fact, _ in relations}
        self._lengthen(body, relations, _MOST_DENSE_WORDS)
        self._lengthen(body, extras, stream.between(*_DENSE_WORDS))
        return " ".join(body)

    def _lengthen(self, body: list[str], sentences: Sequence[tuple[str, str]], least: int) -> None:
        """Add sentences with their facts to a caption that has fewer words, as long as they fit."""
        length = sum(text.count(" ") + 1 for text in body)
        for fact, text in sentences:
            words = text.count(" ") + 1
            if length < least and length + words <= _MOST_DENSE_WORDS:
                body.insert(0 if fact == "style" and self.stream.chance(70) else len(body), text)
                self.told.add(fact)
                length += words

    def _noun(self, i: int) -> str:
        size, colour = f"size:{i}" in self.told, f"colour:{i}" in self.told
        return named(self.facts.things[i], self.stream, size=size, colour=colour)

    def _relation_sentence(self, name: str, pair: tuple[int, int], names: list[str]) -> str:
        first, relation, second = related(self.stream, name, pair)
        be = "are" if is_many(self.facts.things[first]) else "is"
        return sentence(f"{names[first]} {be} {relation} {names[second]}")

    def _thing_sentence(self, i: int) -> str:
        thing, noun = self.facts.things[i], self._noun(i)
        be = "are" if is_many(thing, noun=noun) else "is"
        if f"place:{i}" not in self.told:
            return sentence(say(self.stream, "thing", "alone", be=be, noun=noun))
        place = place_phrase(thing, self.stream)
        return sentence(say(self.stream, "thing", "placed", be=be, noun=noun, place=place))

    def _flowing(self, order: Sequence[int]) -> list[str]:
        """All things in one sentence."""
        parts = []
        for i in order:
            place = f" {place_phrase(self.facts.things[i], self.stream)}" if f"place:{i}" in self.told else ""
            parts.append(f"{self._noun(i)}{place}")
        return [sentence(f"{say(self.stream, 'opening', 'all')}{'; '.join(parts)}")]
