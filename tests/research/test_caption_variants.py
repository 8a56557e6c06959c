"""Captions that fail, each in its own way."""

import pytest
import torch

from research.captions.variants import VARIANTS, near_misses, shuffled, with_variants
from textok.data.text import short, thing
from textok.evaluation.captioned import CaptionedPictures
from tiny import LetterEncoder

CAPTION = "a flat icon of a red apple, on a teal background; food, fruit"


def test_shorter_captions() -> None:
    assert short(CAPTION) == "a flat icon of a red apple"
    assert thing(CAPTION) == "a red apple"
    assert thing("a photo of a king of spades; card") == "a king of spades"
    assert thing("an apple") == "an apple"


def test_shuffled_words_are_the_same_words() -> None:
    mixed = shuffled(CAPTION, generator=torch.Generator().manual_seed(0))
    plain = CAPTION.replace(",", "").replace(";", "").split()
    assert mixed.split() != plain and sorted(mixed.split()) == sorted(plain)


def test_a_near_miss_is_the_most_similar_other_thing() -> None:
    states = torch.tensor([[1.0, 0.0], [1.0, 0.01], [0.9, 0.1], [0.0, 1.0], [1.0, 0.02]])
    assert near_misses(states, ["apple", "apple", "pear", "car", " "]) == [2, 2, 1, 2, 1], (
        "a blank is never lent"
    )
    with pytest.raises(ValueError, match="same thing"):
        near_misses(states, ["apple"] * 4 + [""])


def test_many_captions_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    states, things = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), list("abcabcabc")
    whole = near_misses(states, things)
    monkeypatch.setattr("research.captions.variants._ROWS", 2)
    assert near_misses(states, things) == whole


def test_pictures_with_variants() -> None:
    captions = (CAPTION, "a flat icon of a blue car", "a drawing of a cat; animal")
    pictures = CaptionedPictures(
        split="s",
        images=torch.zeros(3, 3, 2, 2, dtype=torch.uint8),
        captions=captions,
        keys=("a", "b", "c"),
    )
    variants = with_variants(pictures, text=LetterEncoder())
    assert set(variants.variants) == set(VARIANTS)
    assert variants.captions_under("thing") == ("a red apple", "a blue car", "a cat")
    assert set(variants.captions_under("near")) <= set(captions)
    assert all(near != own for near, own in zip(variants.captions_under("near"), captions, strict=True))
    assert with_variants(pictures, text=LetterEncoder()).variants == variants.variants, (
        "the same words each time"
    )
