"""Captions that say less, or something else: the ways in which a user's caption fails."""

import re
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from textok.evaluation.captioned import CaptionedPictures

VARIANTS = ("short", "thing", "shuffled", "near", "wrong", "none")
"""First phrase only; the bare noun phrase; words in random order; the most similar caption of another
thing; another picture's; none."""

_CLAUSE = re.compile(r"[,;]")


def with_variants(
    pictures: CaptionedPictures, states: Float[Tensor, "n d"], *, seed: int = 0
) -> CaptionedPictures:
    """The same pictures with the caption conditions "short", "thing", "shuffled" and "near".

    Args:
        pictures: with captions of the form "STYLE of NOUN PHRASE[, details]" or any other.
        states: one vector a caption, unit length or not: what "near" is judged by.
        seed: of the word order of "shuffled".
    """
    things = [thing(caption) for caption in pictures.captions]
    generator = torch.Generator().manual_seed(seed)
    variants = {
        "short": tuple(short(caption) for caption in pictures.captions),
        "thing": tuple(things),
        "shuffled": tuple(shuffled(caption, generator=generator) for caption in pictures.captions),
        "near": tuple(pictures.captions[i] for i in near_misses(states, things)),
    }
    return CaptionedPictures(
        split=pictures.split,
        images=pictures.images,
        captions=pictures.captions,
        keys=pictures.keys,
        variants={**pictures.variants, **variants},
    )


def short(caption: str) -> str:
    """Up to the first comma or semicolon: style and thing, without colours, background and keywords."""
    return _CLAUSE.split(caption)[0].strip()


def thing(caption: str) -> str:
    """The noun phrase after the first "of": "a flat icon of a red apple, ..." -> "a red apple"."""
    phrase = short(caption)
    _, found, rest = phrase.partition(" of ")
    return rest if found else phrase


def shuffled(caption: str, *, generator: torch.Generator) -> str:
    """The same words in random order, without punctuation."""
    words = re.findall(r"[\w'-]+", caption)
    return " ".join(words[i] for i in torch.randperm(len(words), generator=generator).tolist())


def near_misses(states: Float[Tensor, "n d"], things: Sequence[str]) -> list[int]:
    """For each caption the most similar one that is about another thing.

    Raises:
        ValueError: when all captions are about one thing.
    """
    if len(set(things)) < 2:
        raise ValueError("near misses: all captions name the same thing; expected at least 2 things")
    unit = torch.nn.functional.normalize(states, dim=1)
    alike = unit @ unit.T
    number = {name: i for i, name in enumerate(sorted(set(things)))}
    ids = torch.tensor([number[name] for name in things])
    alike = alike.masked_fill(ids[:, None] == ids[None, :], -torch.inf)
    return alike.argmax(dim=1).tolist()
