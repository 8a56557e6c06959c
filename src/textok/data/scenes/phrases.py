"""The parts of captions: a thing with its adjectives, a place, a relation, a background; several phrasings each."""

from textok.data.scenes.facts import FILL, GRID, Background, Thing
from textok.data.scenes.stream import Stream
from textok.data.scenes.words import NUMBERS, Noun, parse_noun, sentence, with_article

_SIZES = {
    "small": ("small", "little", "small"),
    "medium": ("medium-sized",),
    "large": ("large", "big", "large"),
}

_PLACES = {
    "center": ("in the center", "in the middle", "in the middle of the picture"),
    "left": ("on the left", "on the left side", "at the left"),
    "right": ("on the right", "on the right side", "at the right"),
    "top": ("at the top", "in the upper part", "at the top of the picture"),
    "bottom": ("at the bottom", "in the lower part", "at the bottom of the picture"),
}
_CORNERS = (
    "at the {along} {across}",
    "in the {also} {across}",
    "in the {along}-{across} part",
    "at the {along}, to the {across}",
)
_ALSO = {"top": "upper", "bottom": "lower"}

_RELATIONS = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "above", "higher up than"),
    "below": ("below", "below", "lower than"),
    "in front of": ("in front of", "partly in front of"),
    "behind": ("behind", "partly behind"),
}

_FRACTIONS = (
    (20, "a fifth"), (25, "a quarter"), (33, "a third"), (40, "two fifths"), (50, "half"), (60, "three fifths"),
    (67, "two thirds"), (75, "three quarters"),
)  # fmt: skip


def number(count: int) -> str:
    """A number up to six in letters."""
    return NUMBERS[count] if count < len(NUMBERS) else str(count)


def is_many(thing: Thing, *, noun: str = "") -> bool:
    """Whether the verb of a thing is plural; ``noun`` is how it is called: "a drawing of two hands" is one."""
    return thing.count > 1 or (parse_noun(thing.phrase).many and not noun.startswith(("a ", "an ")))


def named(thing: Thing, stream: Stream, *, size: bool, colour: bool) -> str:
    """Such as "a large green cat", "three small cats", "two copies of the flag of Kenya"."""
    noun = parse_noun(thing.phrase)
    look = [stream.choice(_SIZES[thing.size])] if size else []
    look += [thing.colour] if colour and thing.colour else []
    if thing.count == 1:
        return _one(noun, look)
    if noun.plural:
        return " ".join([number(thing.count), *look, noun.plural])
    return f"{number(thing.count)} copies of {_one(noun, look)}"


def definite(thing: Thing, *, colour: bool) -> str:
    """Such as "the cat", "the green cat", "the cats", "the copies of the flag of Kenya"."""
    noun = parse_noun(thing.phrase)
    look = [thing.colour] if colour and thing.colour else []
    if thing.count > 1:
        return f"the {' '.join([*look, noun.plural])}" if noun.plural else f"the copies of {_one(noun, look)}"
    if noun.kind == "bare" and _is_proper(noun):
        return " ".join(["the", *look, "drawing of", noun.text]) if look else noun.text
    return " ".join(["the", *look, noun.text])


def _one(noun: Noun, look: list[str]) -> str:
    if not look:
        return {"count": with_article, "definite": "the {}".format, "bare": str}[noun.kind](noun.text)
    if noun.kind == "count":
        return with_article(" ".join([*look, noun.text]))
    if noun.kind == "bare" and not _is_proper(noun):
        return " ".join([*look, noun.text])
    return f"{with_article(' '.join([*look, 'drawing']))} of {_one(noun, [])}"


def _is_proper(noun: Noun) -> bool:
    """Names and numbered nouns, before which no adjective can stand: "Santa Claus", "two raised hands"."""
    first = noun.text.split()[0]
    return first[0].isupper() or first in NUMBERS or first in ("people", "the")


def place_phrase(thing: Thing, stream: Stream) -> str:
    """Such as "at the top left", "in a row on the left"."""
    along, _, across = thing.place.partition(" ")
    if across:
        place = stream.choice(_CORNERS).format(along=along, across=across, also=_ALSO[along])
    else:
        place = stream.choice(_PLACES[along])
    if thing.arrangement == "row":
        return f"{stream.choice(('in a row', 'side by side'))} {place}"
    if thing.arrangement == "column":
        return f"{stream.choice(('in a column', 'one above the other'))} {place}"
    if thing.arrangement == "scattered":
        return stream.choice(("scattered over the picture", "spread out", "here and there"))
    return place


def relation_phrase(name: str, stream: Stream) -> str:
    """A relation in one of its wordings."""
    return stream.choice(_RELATIONS[name])


def background_words(background: Background) -> str:
    """Such as "plain yellow", "blue and green", "blue-to-green"."""
    if background.kind == "plain":
        return f"plain {background.names[0]}"
    return (" and " if background.kind == "two-part" else "-to-").join(background.names)


def background_phrase(background: Background, stream: Stream) -> str:
    """Such as "on a yellow background", "on a background that is blue at the top and green below"."""
    if background.kind == "plain":
        [name] = background.names
        return stream.choice(
            (
                f"on {with_article(name)} background",
                f"against {with_article(name)} background",
                f"on a plain {name} background",
                f"on {name}",
            )
        )
    start, end = _ends(background, stream)
    first, second = background.names
    if background.kind == "two-part":
        return stream.choice(
            (
                f"on a background that is {first} {start} and {second} {end}",
                f"on a two-part background, {first} {start} and {second} {end}",
            )
        )
    return stream.choice(
        (
            f"on a gradient from {first} {start} to {second} {end}",
            f"on a background fading from {first} {start} to {second} {end}",
        )
    )


def background_sentence(background: Background, stream: Stream) -> str:
    """The same as a sentence."""
    if background.kind == "plain":
        [name] = background.names
        return sentence(
            stream.choice(
                (
                    f"the background is plain {name}",
                    f"the background is {name}",
                    f"behind is a plain {name} background",
                    f"all of it lies on {with_article(name)} background",
                )
            )
        )
    start, end = _ends(background, stream)
    first, second = background.names
    if background.kind == "two-part":
        return sentence(
            stream.choice(
                (
                    f"the background has two parts, {first} {start} and {second} {end}",
                    f"the background is {first} {start} and {second} {end}",
                )
            )
        )
    return sentence(
        stream.choice(
            (
                f"the background goes from {first} {start} to {second} {end}",
                f"the background is a gradient, {first} {start} and {second} {end}",
            )
        )
    )


def _ends(background: Background, stream: Stream) -> tuple[str, str]:
    if background.direction == "vertical":
        return stream.choice((("at the top", "at the bottom"), ("above", "below")))
    return "on the left", "on the right"


def extent(thing: Thing, name: str, stream: Stream) -> str:
    """Such as "the cat is about a third as large as the picture is wide"."""
    percent = thing.side * FILL // GRID
    fraction = min(_FRACTIONS, key=lambda entry: abs(entry[0] - percent))[1]
    be, s = ("are", "") if is_many(thing) else ("is", "s")
    one = stream.choice(
        (
            f"{name} {be} about {fraction} of the picture in size",
            f"{name} take{s} up about {fraction} of the picture's side",
        )
    )
    return one if thing.count == 1 else f"each of {name} is about {fraction} of the picture in size"
