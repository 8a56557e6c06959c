"""The parts of captions: a thing with its adjectives, a place, a relation, a background; several phrasings each."""

from textok.data.scenes import TABLES
from textok.data.scenes.drawings import STYLES
from textok.data.scenes.facts import FILL, GRID, Background, Facts, Thing
from textok.data.scenes.stream import Stream
from textok.data.scenes.words import NUMBERS, Noun, listing, parse_noun, sentence, with_article

_PHRASES: dict[str, dict[str, list[str]]] = TABLES["phrases"]
_ENDS: dict[str, list[tuple[str, str]]] = TABLES["ends"]
_ALSO = {"top": "upper", "bottom": "lower"}
_INVERSE = {
    "left of": "right of", "right of": "left of", "above": "below", "below": "above", "in front of": "behind",
}  # fmt: skip


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
    a_first = with_article(first)
    return say(
        stream, part, background.kind, first=first, a_first=a_first, second=second, start=start, end=end
    )


def extra_sentences(facts: Facts, names: list[str], stream: Stream) -> list[tuple[str, str]]:
    """What else can be said, in random order: facts and their sentences; "style" stands in front of a caption.

    Args:
        facts: the scene.
        names: its things, as in "the cat".
        stream: draws of this caption.
    """
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
    styles = list(dict.fromkeys(STYLES[thing.style] for thing in facts.things))
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
