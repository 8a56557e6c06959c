"""English for scenes: articles, plurals, noun phrases with their adjectives; and all parts of a caption in words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from textok.data.scenes import TABLES
from textok.data.scenes.colours import NAMES
from textok.data.scenes.facts import FILL, GRID, Background, Facts, Thing
from textok.data.scenes.stream import Stream

_WORDS = TABLES["english"]
NUMBERS: tuple[str, ...] = tuple(_WORDS["numbers"])
_PLURALS: dict[str, str] = _WORDS["plurals"]
_INSIDE, _NO_PLURAL = frozenset(_WORDS["inside"]), frozenset(_WORDS["no head"] + _WORDS["mass"])
_MANY = frozenset(["people", "hands", *_PLURALS.values()]) - frozenset(_WORDS["singular or plural"])
_LIKE_A, _LIKE_AN = tuple(_WORDS["sound like a"]), tuple(_WORDS["sound like an"])
_COLOUR_WORD = re.compile(rf"\b({'|'.join(('grey', *NAMES))})(?:-colou?red)?\b", re.IGNORECASE)

_STYLES: dict[str, tuple[str, str]] = {name: (look, noun) for name, (look, noun) in TABLES["styles"].items()}
_PHRASES: dict[str, dict[str, list[str]]] = TABLES["phrases"]
_ENDS: dict[str, list[tuple[str, str]]] = TABLES["ends"]
_ALSO = {"top": "upper", "bottom": "lower"}
_INVERSE = {
    "left of": "right of", "right of": "left of", "above": "below", "below": "above", "in front of": "behind",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Noun:
    """A noun phrase without its article.

    Attributes:
        text: "person bouncing a ball", "flag of Kenya", "glasses".
        kind: "count" takes a or an, "definite" takes the, "bare" takes nothing.
        plural: "people", of "count" nouns that are simple enough; "" otherwise.
        many: whether the verb after the bare noun is plural: "glasses are".
    """

    text: str
    kind: str
    plural: str = ""
    many: bool = False

    @property
    def is_proper(self) -> bool:
        """A name or a numbered noun, before which no adjective can stand: "Santa Claus", "two raised hands"."""
        first = self.text.split()[0]
        return self.kind == "bare" and (first[0].isupper() or first in NUMBERS or first in ("people", "the"))


@lru_cache(maxsize=1 << 15)
def parse_noun(phrase: str) -> Noun:
    """A noun phrase as the drawings have it: "a person bouncing a ball", "the flag of Kenya", "glasses"."""
    first, _, rest = phrase.partition(" ")
    if first in ("a", "an") and rest:
        return Noun(text=rest, kind="count", plural=plural_of(rest))
    if first == "the" and rest:
        return Noun(text=rest, kind="definite")
    head = _head(phrase).lower()
    return Noun(
        text=phrase, kind="bare", many=first.lower() in NUMBERS or head in _MANY or _looks_plural(head)
    )


def plural_of(noun: str) -> str:
    """The plural of a simple noun phrase, whose last word is its head; "" for any other."""
    words = noun.split()
    last = words[-1]
    simple = len(words) <= 3 and all(re.fullmatch(r"[A-Za-z][a-z'-]*", word) for word in words)
    if not simple or _INSIDE & set(words) or last in _NO_PLURAL or last.endswith(("ing", "ed", "ous")):
        return ""
    if any(word.endswith("ing") for word in words[1:]) or _looks_plural(last):
        return ""
    return " ".join([*words[:-1], _plural_word(last)])


@lru_cache(maxsize=1 << 15)
def with_article(words: str) -> str:
    """Such as "apple" -> "an apple", "green apple" -> "a green apple", "unicorn" -> "a unicorn"."""
    return f"{'an' if _starts_with_vowel(words) else 'a'} {words}"


def colour_words(phrase: str) -> list[str]:
    """The names of colours in a phrase, in order, gray spelt as in ``NAMES``."""
    return [match[1].lower().replace("grey", "gray") for match in _COLOUR_WORD.finditer(phrase)]


def without_colours(phrase: str) -> str:
    """A phrase with its colour words left out; "" where one of them is not an adjective in front of a noun."""
    rest = " ".join(_COLOUR_WORD.sub(" ", phrase).split())
    ends = [match.end() for match in _COLOUR_WORD.finditer(phrase)]
    if any(not re.match(r" [a-z]{3,}", phrase[end:]) for end in ends) or _is_broken(rest):
        return ""
    article, _, noun = rest.partition(" ")
    return with_article(noun) if article in ("a", "an") else rest


def listing(parts: Sequence[str]) -> str:
    """Such as "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def sentence(text: str) -> str:
    """With a capital at its start and a full stop at its end."""
    return f"{text[0].upper()}{text[1:]}."


def _is_broken(phrase: str) -> bool:
    words = phrase.split()
    return len(words) < 2 or any(
        a in ("and", "in", "of", "with", "a", "an") and b in ("and", "with", "of", "in")
        for a, b in pairwise(words)
    )


def _starts_with_vowel(words: str) -> bool:
    first = words.split()[0].strip("\"'(")
    lower = f"{first.lower()} "
    if first.isupper() and len(first) <= 4 and first not in _WORDS["read as words"]:
        return first[0] in _WORDS["letters with an"]
    return lower.startswith(_LIKE_AN) or (lower[0] in "aeiou" and not lower.startswith(_LIKE_A))


def _head(text: str) -> str:
    words = text.split()
    ends = [i for i, word in enumerate(words) if i and (word in _INSIDE or word.endswith("ing"))]
    return words[min(ends, default=len(words)) - 1]


def _looks_plural(word: str) -> bool:
    return word.endswith("s") and not word.endswith(("ss", "us", "is", "'s"))


def _plural_word(word: str) -> str:
    if word.lower() in _PLURALS:
        return _PLURALS[word.lower()]
    if re.search(r"(s|x|z|ch|sh)$", word):
        return f"{word}es"
    return f"{word[:-1]}ies" if re.search(r"[^aeiou]y$", word) else f"{word}s"


# --- the parts of a caption, in several phrasings each ------------------------------------------------------


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
        names: its things, as in "the cat".
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
