"""Captions that say less, or something else: the ways in which a user's caption fails."""

import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from textok.data.caption_forms import short, thing
from textok.evaluation.alignment.captions import TextSource, caption_features
from textok.evaluation.captioned import CONDITIONS, CaptionCondition, CaptionedPictures, lends_captions

VARIANTS: tuple[CaptionCondition, ...] = ("short", "thing", "shuffled", "near")
"""First phrase only; the bare noun phrase; words in random order; the most similar caption of another thing."""

SHUFFLE_SEED = 0
"""Of the word order of shuffled captions."""

_ROWS = 1024  # captions compared with all others at a time


def with_variants(
    pictures: CaptionedPictures, names: Sequence[CaptionCondition], *, text: TextSource | None
) -> CaptionedPictures:
    """The same pictures with some of the caption conditions ``VARIANTS``; other names are passed over.

    Args:
        pictures: with captions of the form "STYLE of NOUN PHRASE[, details]" or any other.
        names: caption conditions.
        text: token states of captions, whose mean "near" is judged by; None where "near" is not among them.

    Raises:
        ValueError: for "near" when all captions name the same thing.
    """
    variants = {name: _variant(name, pictures.captions, text=text) for name in names if name in VARIANTS}
    return replace(pictures, variants={**pictures.variants, **variants})


def _variant(name: CaptionCondition, captions: Sequence[str], *, text: TextSource | None) -> tuple[str, ...]:
    if name == "near":
        if text is None:
            raise ValueError("near: got no text encoder, expected one to compare captions with")
        places = near_misses(caption_features(captions, text=text), captions)
        return tuple(captions[i] for i in places)
    if name == "shuffled":
        generator = torch.Generator().manual_seed(SHUFFLE_SEED)
        return tuple(shuffled(caption, generator=generator) for caption in captions)
    form = short if name == "short" else thing
    return tuple(form(caption) for caption in captions)


def shuffled(caption: str, *, generator: torch.Generator) -> str:
    """The same words in random order, without punctuation."""
    words = re.findall(r"[\w'-]+", caption)
    return " ".join(words[i] for i in torch.randperm(len(words), generator=generator).tolist())


def names_things(captions: Sequence[str]) -> bool:
    """Whether the captions name at least two things, so that each has a near miss."""
    return len({thing(caption) for caption in captions if caption.strip()}) > 1


def near_misses(states: Float[Tensor, "n d"], captions: Sequence[str]) -> list[int]:
    """For each caption the place of the most similar one that is about another thing; never a blank one.

    Raises:
        ValueError: when all captions are about one thing.
    """
    if not names_things(captions):
        raise ValueError("near misses: all captions name the same thing; expected at least 2 things")
    things = [thing(caption) for caption in captions]
    number = {name: i for i, name in enumerate(sorted(set(things)))}
    ids = torch.tensor([number[name] for name in things], device=states.device)
    blank = torch.tensor([not caption.strip() for caption in captions], device=states.device)
    unit = torch.nn.functional.normalize(states, dim=1)
    found = []
    for rows, own in zip(unit.split(_ROWS), ids.split(_ROWS), strict=True):
        unfit = (own[:, None] == ids[None, :]) | blank[None, :]
        found += (rows @ unit.T).masked_fill(unfit, -torch.inf).argmax(dim=1).tolist()
    return found


def check_conditions(conditions: Sequence[CaptionCondition]) -> None:
    """Check the names of caption conditions.

    Raises:
        ValueError: when there is none, or an unknown one.
    """
    expected = (*CONDITIONS, *VARIANTS)
    if not conditions or not set(conditions) <= set(expected):
        raise ValueError(f"conditions: got {','.join(conditions)!r}, expected some of {','.join(expected)}")


def usable_conditions(
    pictures: CaptionedPictures, conditions: Sequence[CaptionCondition]
) -> list[CaptionCondition]:
    """The conditions that these pictures' captions allow; ["none"] when there is no other."""
    captions = pictures.captions
    special = {"none": True, "wrong": lends_captions(captions), "near": names_things(captions)}
    captioned = any(caption.strip() for caption in captions)
    return [name for name in conditions if special.get(name, captioned)] or ["none"]


def why_unusable(pictures: CaptionedPictures, conditions: Sequence[CaptionCondition]) -> str:
    """Why these pictures' captions do not allow some conditions, in words."""
    if not any(caption.strip() for caption in pictures.captions):
        return "the pictures have no captions"
    if list(conditions) == ["near"]:
        return "all captions name the same thing"
    return "all captions say the same"
