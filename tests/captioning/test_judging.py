from typing import Any

import pytest

from textok.captioning.judging import is_english, judge, mend
from textok.captioning.writers import Answer

GOOD = "A red apple on a wooden table, with a knife to its left and a grey wall behind."


def judged(text: str, *, finish: str = "stop", **options: Any) -> Answer:
    return judge(Answer(text=text, finish=finish), **options)


@pytest.mark.parametrize(
    "text", [GOOD, "red apple", "A tabby cat sits in a blue bowl, looking at the camera."]
)
def test_a_caption_stays_as_it_is(text):
    assert mend(text) == (text, ())
    answer = judged(text)
    assert (answer.text, answer.failure) == (text, None)


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("This image shows a red apple.", "preamble"),
        ("The picture depicts a red apple.", "preamble"),
        ("Sure! Here is a caption for it: A red apple.", "preamble"),
        ("Caption: A red apple.", "preamble"),
        ("In this image, we see a red apple.", "preamble"),
        ("In the photo, a red apple.", "preamble"),
        ('"A red apple."', "quotes"),
        ("“A red apple.”", "quotes"),
        ("A **red** apple.", "emphasis"),
        ("<think>It is round.\nSo an apple.</think>\nA red apple.", "thought"),
    ],
)
def test_what_can_be_mended_is(text, change):
    answer = judged(text)
    assert answer.text == "A red apple." and answer.failure is None
    assert change in answer.changes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\u200b", "empty"),
        ("...", "empty"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("I cannot view pictures.", "refusal"),
        ("As an AI language model I do not see.", "refusal"),
        ("Please provide the image you want described.", "refusal"),
        ("A red red red red apple", "repeats"),
        ("a cat on a mat, " * 6, "repeats"),
        ("# Title\nA red apple", "markup"),
        ("- an apple\n- a knife", "markup"),
        ("A red apple<|im_end|>", "markup"),
        ('{"caption": "a red apple"}', "markup"),
        ("<div>A red apple</div>", "markup"),
        ("Ein roter Apfel liegt auf dem Tisch und ist mit einem Messer zu sehen.", "wrong language"),
        ("Une pomme rouge est sur la table avec un couteau.", "wrong language"),
        ("一个红苹果在桌子上", "wrong language"),
        ("Красное яблоко на столе", "wrong language"),
        ("words " * 4000, "too long"),
        ("x" * 1_000_000, "too long"),
    ],
)
def test_what_is_no_caption_has_a_reason(text, reason):
    assert judged(text).failure == reason


def test_an_answer_that_was_cut_off_or_filtered_is_none():
    assert judged(GOOD, finish="length").failure == "cut off"
    assert judged(GOOD, finish="content_filter").failure == "stopped: content_filter"


def test_seven_words_of_the_prompt_are_a_leak_and_six_are_not():
    prompt = "Describe this picture in one paragraph of at most 75 words."
    assert (
        judged("Describe this picture in one paragraph of roses.", prompt=prompt).failure == "leaked prompt"
    )
    assert judged("A sign reads: this picture in one paragraph of roses.", prompt=prompt).failure is None


def test_any_language_is_taken_when_asked_for():
    assert judged("Ein roter Apfel liegt auf dem Tisch und ist rot.", language="any").failure is None


def test_half_an_emoji_and_control_characters_do_not_reach_the_files():
    caption = judged("A red\x00 apple \ud83d on a table.").text
    assert caption == "A red apple ? on a table."


def test_names_and_single_words_are_english_enough():
    assert all(
        is_english(text) for text in ("Mona Lisa", "café au lait", "croissant", "A man in Los Angeles")
    )


def test_a_text_of_a_megabyte_of_stars_is_judged_at_once():
    assert judged("*a" * 7_900).failure == "too long"
