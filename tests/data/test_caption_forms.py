"""Shorter forms of a caption."""

import pytest

from textok.data.text import CAPTION_FORMS, caption_in_form, checked_forms

STYLED = "a flat icon of a red apple, on a teal background; food, fruit"


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        (STYLED, [STYLED, "a red apple, on a teal background", "a flat icon of a red apple", "a red apple"]),
        ("a photo of a king of spades; card", [..., "a king of spades", "a photo of a king of spades", ...]),
        ("a red car, on top of a hill", [..., "a red car, on top of a hill", "a red car", "a red car"]),
        ("a red apple", ["a red apple"] * 4),
        ("", [""] * 4),
    ],
)
def test_forms(caption: str, expected: list[str]) -> None:
    for form, words in zip(CAPTION_FORMS, expected, strict=True):
        if words is not ...:
            assert caption_in_form(caption, form) == words


def test_names_of_forms() -> None:
    assert checked_forms(["thing", "given"]) == ("thing", "given")
    for wrong, told in (
        (["thing", "long"], "thing, long"),
        (["thing", "thing"], "thing, thing"),
        ([], "no form"),
    ):
        with pytest.raises(ValueError, match=f"captions: got {told}"):
            checked_forms(wrong)
