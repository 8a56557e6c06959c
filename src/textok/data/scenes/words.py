"""English for scenes: articles, plurals, noun phrases with their adjectives."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from textok.data.scenes import TABLES
from textok.data.scenes.colours import NAMES

_WORDS = TABLES["english"]
NUMBERS: tuple[str, ...] = tuple(_WORDS["numbers"])
_PLURALS: dict[str, str] = _WORDS["plurals"]
_INSIDE, _NO_PLURAL = frozenset(_WORDS["inside"]), frozenset(_WORDS["no head"] + _WORDS["mass"])
_MANY = frozenset(["people", "hands", *_PLURALS.values()]) - frozenset(_WORDS["singular or plural"])
_LIKE_A, _LIKE_AN = tuple(_WORDS["sound like a"]), tuple(_WORDS["sound like an"])
_COLOUR_WORD = re.compile(rf"\b({'|'.join(('grey', *NAMES))})(?:-colou?red)?\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Noun:
    """A noun phrase without its article, such as "person bouncing a ball", "flag of Kenya", "glasses".

    Its kind is "count", which takes a or an, "definite", which takes the, or "bare". ``plural`` is that of simple
    "count" nouns; ``many`` says whether the verb after the bare noun is plural: "glasses are".
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
    many = first.lower() in NUMBERS or head in _MANY or _looks_plural(head)
    return Noun(text=phrase, kind="bare", many=many)


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
    words, inner = phrase.split(), ("and", "with", "of", "in")
    return len(words) < 2 or any(a in (*inner, "a", "an") and b in inner for a, b in pairwise(words))


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
