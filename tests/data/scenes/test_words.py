"""Grammar: articles, plurals, colour words."""

import pytest

from textok.data.scenes.words import (
    colour_words,
    listing,
    parse_noun,
    plural_of,
    with_article,
    without_colours,
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("apple", "an apple"),
        ("green apple", "a green apple"),
        ("unicorn", "a unicorn"),
        ("US capitol", "a US capitol"),
        ("hourglass", "an hourglass"),
        ("NFC tag", "an NFC tag"),
        ("umbrella", "an umbrella"),
        ("euro banknote", "a euro banknote"),
        ("eight-pointed star", "an eight-pointed star"),
        ("OK button", "an OK button"),
        ("orange and white cat", "an orange and white cat"),
    ],
)
def test_the_article_follows_the_sound(words, expected):
    assert with_article(words) == expected


@pytest.mark.parametrize(
    ("noun", "plural"),
    [
        ("cat", "cats"), ("cherry", "cherries"), ("key", "keys"), ("wolf", "wolves"), ("fox", "foxes"),
        ("snowman", "snowmen"), ("squid", "squid"), ("hot dog", "hot dogs"), ("mouse", "mice"), ("dish", "dishes"),
        ("person bouncing a ball", ""), ("chart increasing", ""), ("house with garden", ""), ("bacon", ""),
        ("thumbs up", ""), ("six of spades playing card", ""),
    ],
)  # fmt: skip
def test_the_plural_of_simple_nouns_only(noun, plural):
    assert plural_of(noun) == plural


@pytest.mark.parametrize(
    ("phrase", "plain"),
    [
        ("a red apple", "an apple"),
        ("an orange book", "a book"),
        ("an orange", ""),
        ("a folder red", ""),
        ("a person in red", ""),
        ("a cat", "a cat"),
    ],
)
def test_colour_words_are_left_out_where_it_reads_well(phrase, plain):
    assert without_colours(phrase) == plain


def test_colour_words_are_found():
    assert colour_words("a grey and Red kite") == ["gray", "red"]
    assert colour_words("a reddish hundred") == []


def test_kinds_of_nouns():
    assert parse_noun("the flag of Kenya").kind == "definite"
    assert parse_noun("a cat").kind == "count"
    assert parse_noun("glasses").many
    assert not parse_noun("bacon").many


def test_lists_end_with_and():
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"]) == "a, b and c"
