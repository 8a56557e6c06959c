"""English for scenes: articles, plurals, and where a colour or a size stands in a noun phrase."""

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from textok.data.scenes.colours import NAMES

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")

_COLOURS = ("grey", *NAMES)
_COLOUR_WORD = re.compile(rf"\b({'|'.join(_COLOURS)})(?:-colou?red)?\b", re.IGNORECASE)
_LETTER_WITH_AN = frozenset("AEFHILMNORSX")
_SOUNDS_LIKE_A = (
    "uni",
    "use",
    "euro",
    "ewe",
    "us ",
    "usb",
    "one",
    "ufo",
    "eu",
    "ukulele",
    "uran",
    "utensil",
    "ut",
)
_SOUNDS_LIKE_AN = ("hour", "honest", "heir", "8", "11", "18")
_IRREGULAR = {
    "man": "men", "woman": "women", "child": "children", "person": "people", "mouse": "mice", "goose": "geese",
    "foot": "feet", "tooth": "teeth", "ox": "oxen", "wolf": "wolves", "leaf": "leaves", "knife": "knives",
    "loaf": "loaves", "calf": "calves", "half": "halves", "shelf": "shelves", "scarf": "scarves", "elf": "elves",
    "thief": "thieves", "cactus": "cacti", "die": "dice", "sheep": "sheep", "deer": "deer", "fish": "fish",
    "shrimp": "shrimp", "squid": "squid", "bison": "bison", "moose": "moose", "salmon": "salmon", "axis": "axes",
    "aircraft": "aircraft", "spacecraft": "spacecraft", "potato": "potatoes", "tomato": "tomatoes",
    "mango": "mangoes", "hero": "heroes", "echo": "echoes", "volcano": "volcanoes", "mosquito": "mosquitoes",
    "octopus": "octopuses", "bus": "buses", "lens": "lenses", "quiz": "quizzes", "policeman": "policemen",
    "fireman": "firemen", "snowman": "snowmen", "snowwoman": "snowwomen", "merman": "mermen",
    "superhero": "superheroes",
    "series": "series", "species": "species", "swordfish": "swordfish", "goldfish": "goldfish",
}  # fmt: skip
_NOT_A_HEAD = frozenset(
    [
        "up",
        "down",
        "off",
        "on",
        "out",
        "back",
        "away",
        "left",
        "right",
        "left-right",
        "increasing",
        "decreasing",
        "generic",
        "remove",
        "add",
        "new",
        "old",
        "open",
        "closed",
        "black",
        "white",
        "gray",
        "grey",
        "brown",
        "beige",
        "red",
        "orange",
        "yellow",
        "green",
        "teal",
        "blue",
        "purple",
        "pink",
        "angled",
        "alternate",
        "style",
        "top",
        "soon",
        "pure",
        "rough",
        "small",
        "big",
        "large",
        "flat",
        "plain",
        "round",
        "together",
    ]
)
_INSIDE = frozenset(
    [
        "with",
        "without",
        "of",
        "in",
        "on",
        "at",
        "from",
        "over",
        "under",
        "behind",
        "to",
        "making",
        "holding",
        "wearing",
        "showing",
        "by",
        "no",
        "for",
        "and",
        "or",
        "as",
        "into",
        "between",
        "near",
        "through",
        "off",
        "per",
        "versus",
        "vs",
        "like",
        "being",
    ]
)
_MASS = frozenset(
    [
        "bacon",
        "bread",
        "broccoli",
        "garlic",
        "ginger",
        "popcorn",
        "salt",
        "butter",
        "rice",
        "sake",
        "honey",
        "milk",
        "fire",
        "fog",
        "snow",
        "ice",
        "wood",
        "sunrise",
        "sunset",
        "curry",
        "tofu",
        "sushi",
        "spaghetti",
        "lightning",
        "water",
        "money",
        "yarn",
        "confetti",
        "luggage",
        "clothing",
        "music",
        "cheese",
        "coffee",
        "tea",
        "beer",
        "wine",
        "food",
        "meat",
        "corn",
        "grass",
        "people",
        "glasses",
        "scissors",
        "jeans",
        "trousers",
        "shorts",
        "pants",
        "tongs",
        "binoculars",
        "pliers",
    ]
)


@dataclass(frozen=True, kw_only=True)
class Noun:
    """A noun phrase without its article.

    Attributes:
        text: "person bouncing a ball", "flag of Kenya", "glasses".
        kind: "count" takes a or an, "definite" takes the, "bare" takes nothing.
        plural: "people", of "count" nouns that are simple enough; "" otherwise.
    """

    text: str
    kind: str
    plural: str = ""

    @property
    def many(self) -> bool:
        """Whether the verb after the bare noun is plural: "glasses are"."""
        first, last = self.text.split()[0].lower(), _head(self.text).lower()
        return self.kind == "bare" and (first in NUMBERS or last in _PLURALS or _looks_plural(last))


_PLURALS = frozenset(["people", "men", "women", "children", "hands", *_IRREGULAR.values()]) - {
    "sheep", "deer", "fish", "shrimp", "squid", "bison", "moose", "salmon", "aircraft", "spacecraft",
}  # fmt: skip


@lru_cache(maxsize=1 << 15)
def parse_noun(phrase: str) -> Noun:
    """A noun phrase as the drawings have it: "a person bouncing a ball", "the flag of Kenya", "glasses"."""
    first, _, rest = phrase.partition(" ")
    if first in ("a", "an") and rest:
        return Noun(text=rest, kind="count", plural=plural_of(rest))
    if first == "the" and rest:
        return Noun(text=rest, kind="definite")
    return Noun(text=phrase, kind="bare")


def plural_of(noun: str) -> str:
    """The plural of a simple noun phrase, whose last word is its head; "" for any other."""
    words = noun.split()
    last = words[-1]
    simple = len(words) <= 3 and all(re.fullmatch(r"[A-Za-z][a-z'-]*", word) for word in words)
    if (
        not simple
        or _INSIDE & set(words)
        or last in _NOT_A_HEAD | _MASS
        or last.endswith(("ing", "ed", "ous"))
    ):
        return ""
    if any(word.endswith("ing") for word in words[1:]) or (last.endswith("s") and _looks_plural(last)):
        return ""
    return " ".join([*words[:-1], _plural_word(last)])


def with_article(words: str) -> str:
    """Such as "apple" -> "an apple", "green apple" -> "a green apple", "unicorn" -> "a unicorn"."""
    return f"{'an' if _starts_with_vowel(words) else 'a'} {words}"


def colour_words(phrase: str) -> list[str]:
    """The names of colours in a phrase, in order, gray spelt as in ``NAMES``."""
    return [match[1].lower().replace("grey", "gray") for match in _COLOUR_WORD.finditer(phrase)]


def without_colours(phrase: str) -> str:
    """A phrase with its colour words left out; "" where one of them is not an adjective in front of a noun."""
    rest = _COLOUR_WORD.sub(" ", phrase)
    rest = " ".join(rest.split())
    ends = [match.end() for match in _COLOUR_WORD.finditer(phrase)]
    if any(not re.match(r" [a-z]{3,}", phrase[end:]) for end in ends) or _broken(rest):
        return ""
    article, _, noun = rest.partition(" ")
    return with_article(noun) if article in ("a", "an") else rest


def listing(parts: list[str]) -> str:
    """Such as "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def sentence(text: str) -> str:
    """With a capital at its start and a full stop at its end."""
    return f"{text[0].upper()}{text[1:]}."


def _broken(phrase: str) -> bool:
    words = phrase.split()
    return len(words) < 2 or any(
        a in ("and", "in", "of", "with", "a", "an") and b in ("and", "with", "of", "in")
        for a, b in pairwise(words)
    )


def _starts_with_vowel(words: str) -> bool:
    first = words.split()[0].strip("\"'(")
    lower = f"{first.lower()} "
    if (
        first.isupper()
        and len(first) <= 4
        and first not in ("COOL", "NEW", "FREE", "BACK", "TOP", "SOON", "US")
    ):
        return first[0] in _LETTER_WITH_AN
    if lower.startswith(_SOUNDS_LIKE_AN):
        return True
    return lower[0] in "aeiou" and not lower.startswith(_SOUNDS_LIKE_A)


def _head(text: str) -> str:
    words = text.split()
    end = next(
        (i for i, word in enumerate(words) if i and (word in _INSIDE or word.endswith("ing"))), len(words)
    )
    return words[end - 1]


def _looks_plural(word: str) -> bool:
    return word.endswith("s") and not word.endswith(("ss", "us", "is", "'s"))


def _plural_word(word: str) -> str:
    if word.lower() in _IRREGULAR:
        return _IRREGULAR[word.lower()]
    if re.search(r"(s|x|z|ch|sh)$", word):
        return f"{word}es"
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}s"
