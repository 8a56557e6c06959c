"""Captions of a scene at three densities from the same facts; each says no more than the facts do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from textok.data.scenes import TABLES
from textok.data.scenes.facts import FILL, GRID, Background, Facts, Thing
from textok.data.scenes.stream import Stream
from textok.data.scenes.words import NUMBERS, Noun, listing, parse_noun, sentence, with_article

Density = Literal["name", "short", "dense"]
DENSITIES: tuple[Density, ...] = ("name", "short", "dense")
MIXED: dict[Density, int] = {"name": 20, "short": 35, "dense": 45}
"""How often each density is drawn when none is asked for."""

_STYLES: dict[str, tuple[str, str]] = {name: (look, noun) for name, (look, noun) in TABLES["styles"].items()}
_PHRASES: dict[str, dict[str, list[str]]] = TABLES["phrases"]
_ENDS: dict[str, list[tuple[str, str]]] = TABLES["ends"]
_ALSO = {"top": "upper", "bottom": "lower"}
_INVERSE = {
    "left of": "right of", "right of": "left of", "above": "below", "below": "above", "in front of": "behind",
}  # fmt: skip

_DENSE_WORDS = (42, 64)
_MOST_DENSE_WORDS = 75


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A caption and the facts it tells, such as "thing:0", "colour:0", "place:1", "relation:1:0", "background"."""

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
        parts = []
        for i in order:
            place = f" {place_phrase(self.facts.things[i], self.stream)}" if f"place:{i}" in self.told else ""
            parts.append(f"{self._noun(i)}{place}")
        return [sentence(f"{say(self.stream, 'opening', 'all')}{'; '.join(parts)}")]


def say(stream: Stream, part: str, kind: str, **words: str) -> str:
    """One of the phrasings of ``words.json`` with its words filled in."""
    return stream.choice(_PHRASES[part][kind]).format_map(words)


def is_many(thing: Thing, *, noun: str = "") -> bool:
    """Whether the verb of a thing is plural; ``noun`` is how it is called: "a drawing of two hands" is one."""
    return thing.count > 1 or (parse_noun(thing.phrase).many and not noun.startswith(("a ", "an ")))


def named(thing: Thing, stream: Stream, *, size: bool, colour: bool) -> str:
    """Such as "a large green cat", "three small cats", "two copies of the flag of Kenya"."""
    noun = parse_noun(thing.phrase)
    look = [say(stream, "size", thing.size)] if size else []
    look += [thing.colour] if colour and thing.colour else []
    if thing.count == 1:
        return _one(noun, look)
    if noun.plural:
        return " ".join([NUMBERS[thing.count], *look, noun.plural])
    return f"{NUMBERS[thing.count]} copies of {_one(noun, look)}"


def definite(thing: Thing, *, colour: bool) -> str:
    """Such as "the cat", "the green cat", "the cats", "the copies of the flag of Kenya"."""
    noun = parse_noun(thing.phrase)
    look = [thing.colour] if colour and thing.colour else []
    if thing.count > 1:
        return f"the {' '.join([*look, noun.plural])}" if noun.plural else f"the copies of {_one(noun, look)}"
    if noun.is_proper:
        return " ".join(["the", *look, "drawing of", noun.text]) if look else noun.text
    return " ".join(["the", *look, noun.text])


def _one(noun: Noun, look: list[str]) -> str:
    if not look:
        article = {"count": with_article, "definite": "the {}".format, "bare": str}[noun.kind]
        return article(noun.text)
    if noun.kind == "count":
        return with_article(" ".join([*look, noun.text]))
    if noun.kind == "bare" and not noun.is_proper:
        return " ".join([*look, noun.text])
    return f"{with_article(' '.join([*look, 'drawing']))} of {_one(noun, [])}"


def place_phrase(thing: Thing, stream: Stream) -> str:
    """Such as "at the top left", "in a row on the left"."""
    along, _, across = thing.place.partition(" ")
    kind = "corner" if across else along
    place = say(stream, "place", kind, along=along, across=across, also=_ALSO.get(along, ""))
    return say(stream, "arrangement", thing.arrangement, place=place) if thing.arrangement else place


def related(stream: Stream, name: str, pair: tuple[int, int]) -> tuple[int, str, int]:
    """A relation in one of its wordings, from either side: (0, "left of", 1) or (1, "to the right of", 0)."""
    first, second = pair
    if stream.chance(50):
        first, second, name = second, first, _INVERSE[name]
    return first, say(stream, "relation", name), second


def background_text(background: Background, stream: Stream, part: str = "background") -> str:
    """Such as "on a yellow background"; part "background sentence" or "background words" says it otherwise."""
    first, second = background.names[0], background.names[-1]
    start, end = stream.choice(_ENDS[background.direction])
    words = {"first": first, "a_first": with_article(first), "second": second, "start": start, "end": end}
    return say(stream, part, background.kind, **words)


def extra_sentences(facts: Facts, names: list[str], stream: Stream) -> list[tuple[str, str]]:
    """What else can be said, in random order: facts and their sentences; "style" stands in front of a caption."""
    total = say(stream, "total", _number(facts.total), number=NUMBERS[facts.total])
    extras = [("style", _style(facts, stream)), ("total", sentence(total))]
    for i, thing in enumerate(facts.things):
        extras.append((f"side:{i}", _extent(thing, names[i], stream)))
        if thing.keywords:
            extras.append((f"words:{i}", _keywords(thing, names[i], stream)))
    extras = stream.shuffled(extras)
    if len(facts.things) == 1:
        ground = background_text(facts.background, stream, "background words")
        extras.append(("background-colours", sentence(say(stream, "no more", "all", ground=ground))))
    if stream.chance(85):
        extras.sort(key=lambda extra: extra[0] != "style")
    return extras


def _number(count: int) -> str:
    return "one" if count == 1 else "several"


def _style(facts: Facts, stream: Stream) -> str:
    styles = list(dict.fromkeys(_STYLES[thing.style] for thing in facts.things))
    look, noun = listing([look for look, _ in styles]), styles[0][1]
    text = say(stream, "style", _number(len(styles)), look=look, a_look=with_article(look), noun=noun)
    return sentence(text)


def _extent(thing: Thing, name: str, stream: Stream) -> str:
    """Such as "the cat is about a third of the picture in size"."""
    percent = thing.side * FILL // GRID
    fraction = min(TABLES["fractions"], key=lambda entry: abs(entry[0] - percent))[1]
    be, s = ("are", "") if is_many(thing) else ("is", "s")
    return sentence(say(stream, "side", _number(thing.count), name=name, be=be, s=s, fraction=fraction))


def _keywords(thing: Thing, name: str, stream: Stream) -> str:
    words = listing(thing.keywords[: stream.between(2, 4)])
    s = "" if is_many(thing) else "s"
    return sentence(say(stream, "keywords", "all", name=name, s=s, words=words))
