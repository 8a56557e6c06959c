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
        text: token states of captions, by whose mean "near" is chosen; None where "near" is not among them.

    Raises:
        ValueError: for "near" when all captions name the same thing.
    """
    captions = pictures.captions
    variants = dict(pictures.variants)
    if "short" in names:
        variants["short"] = tuple(map(short, captions))
    if "thing" in names:
        variants["thing"] = tuple(map(thing, captions))
    if "shuffled" in names:
        generator = torch.Generator().manual_seed(SHUFFLE_SEED)
        variants["shuffled"] = tuple(shuffled(caption, generator=generator) for caption in captions)
    if "near" in names:
        if text is None:
            raise ValueError("near: got no text encoder, expected one to compare captions with")
        indices = near_misses(caption_features(captions, text=text), captions)
        variants["near"] = tuple(captions[i] for i in indices)
    return replace(pictures, variants=variants)


def shuffled(caption: str, *, generator: torch.Generator) -> str:
    """The same words in random order, without punctuation."""
    words = re.findall(r"[\w'-]+", caption)
    return " ".join(words[i] for i in torch.randperm(len(words), generator=generator).tolist())


def near_misses(states: Float[Tensor, "n d"], captions: Sequence[str]) -> list[int]:
    """For each caption the index of the most similar one that is about another thing; never a blank one.

    Raises:
        ValueError: when all captions are about one thing.
    """
    things = [thing(caption) for caption in captions]
    if not _names_things(captions):
        raise ValueError("near misses: got captions that all name the same thing, expected at least 2 things")
    number = {name: i for i, name in enumerate(sorted(set(things)))}
    ids = torch.tensor([number[name] for name in things], device=states.device)
    blank = torch.tensor([not caption.strip() for caption in captions], device=states.device)
    unit = torch.nn.functional.normalize(states, dim=1)
    nearest = []
    for rows, row_ids in zip(unit.split(_ROWS), ids.split(_ROWS), strict=True):
        unfit = (row_ids[:, None] == ids[None, :]) | blank[None, :]
        nearest += (rows @ unit.T).masked_fill(unfit, -torch.inf).argmax(dim=1).tolist()
    return nearest


def _names_things(captions: Sequence[str]) -> bool:
    """Whether the captions name at least two things, so that each has a near miss."""
    return len({thing(caption) for caption in captions if caption.strip()}) > 1


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
) -> tuple[list[CaptionCondition], str]:
    """The conditions that these pictures' captions allow (["none"] when there is no other), and why not the others."""
    captions = pictures.captions
    captioned = any(caption.strip() for caption in captions)
    special = {"none": True, "wrong": lends_captions(captions), "near": _names_things(captions)}
    usable = [name for name in conditions if special.get(name, captioned)]
    if not captioned:
        return usable or ["none"], "the pictures have no captions"
    same_thing = [name for name in conditions if name not in usable] == ["near"]
    return usable or ["none"], f"all captions {'name the same thing' if same_thing else 'say the same'}"
