"""Captions: grammar over thousands of them, lengths, nesting, and that they say what is there."""

import re

import pytest

from textok.data.scenes.captions import DENSITIES, as_density, named, place_phrase, write_caption
from textok.data.scenes.facts import Facts
from textok.data.scenes.stream import Stream

VOWEL = re.compile(r"\b[Aa] (?!uni|use|eu|one|ufo|ukulele|ut|ura)[aeiou]")
CONSONANT = re.compile(r"\b[Aa]n (?!hour|honest|heir)[bcdfghjklmnpqrstvwxyz]")
TWICE = re.compile(r"\b(a|an|the|of|in|is|are|on|at) \1\b")


def captions(scenes: list[Facts], density: str) -> list[str]:
    return [write_caption(facts, Stream("test", i), density).text for i, facts in enumerate(scenes)]


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.slow
def test_thousands_of_captions_are_clean_english(scenes, density):
    for text in captions(scenes, density):
        for mistake in (VOWEL, CONSONANT, TWICE, re.compile(r"  |\s[,.;]|\.\.|,,|;;|\bNone\b|[{}]")):
            assert not mistake.search(text), text
        assert text == text.strip()


@pytest.mark.slow
def test_dense_captions_are_sentences_and_others_are_not(scenes):
    for text in captions(scenes, "dense"):
        assert text.endswith(".") and all(
            part[0].isupper() or not part[0].isalpha() for part in text.split(". ")
        )
    for text in captions(scenes, "short"):
        assert not text.endswith(".")


@pytest.mark.slow
def test_dense_captions_have_40_to_75_words(scenes):
    lengths = [len(text.split()) for text in captions(scenes, "dense")]
    assert min(lengths) >= 40
    assert max(lengths) <= 75


@pytest.mark.slow
def test_verbs_agree_with_their_nouns(scenes):
    for text in captions(scenes, "dense"):
        assert not re.search(r"\b(there|There) are (a|an) |\bthere is (two|three|four|five|six) ", text), text


@pytest.mark.slow
def test_a_denser_caption_tells_all_that_a_sparser_one_does(scenes):
    for i, facts in enumerate(scenes):
        told = [write_caption(facts, Stream("test", i), density).told for density in DENSITIES]
        assert told[0] <= told[1] <= told[2], facts


@pytest.mark.slow
def test_what_a_caption_tells_stands_in_it(scenes):
    for i, facts in enumerate(scenes):
        caption = write_caption(facts, Stream("test", i), "dense")
        for number, thing in enumerate(facts.things):
            noun = named(thing, Stream(0), size=False, colour=False)
            assert noun.split()[-1].lower() in caption.text.lower()
            if f"colour:{number}" in caption.told:
                assert thing.colour in caption.text.lower()
        if "background" in caption.told:
            assert all(name in caption.text for name in facts.background.names)


@pytest.mark.slow
def test_facts_are_left_out_at_random(scenes):
    told = [write_caption(facts, Stream("test", i), "dense").told for i, facts in enumerate(scenes)]
    share = sum("background" in facts for facts in told) / len(told)
    assert 0.85 < share < 0.97


@pytest.mark.slow
def test_phrasings_vary(scenes):
    facts = next(f for f in scenes if len(f.things) == 2)
    assert len({write_caption(facts, Stream("test", i), "short").text for i in range(50)}) > 15


def test_a_place_is_said_in_several_ways(scenes):
    thing = next(f.things[0] for f in scenes if f.things[0].place == "top left" and f.things[0].count == 1)
    phrases = {place_phrase(thing, Stream(i)) for i in range(40)}
    assert len(phrases) == 4
    assert all(("top" in phrase or "upper" in phrase) and "left" in phrase for phrase in phrases)


def test_the_density_is_drawn_when_none_is_asked_for(scenes):
    drawn = {write_caption(facts, Stream("test", i)).density for i, facts in enumerate(scenes[:100])}
    assert drawn == set(DENSITIES)


def test_an_unknown_density_is_refused():
    with pytest.raises(ValueError, match="density"):
        as_density("long")
