"""Captions that fail, each in its own way: further conditions for an evaluation."""

import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from textok.data.text import short, thing
from textok.evaluation.alignment import TextSource, caption_features
from textok.evaluation.captioned import CaptionedPictures

VARIANTS = ("short", "thing", "shuffled", "near")
"""First phrase only; the bare noun phrase; words in random order; the most similar caption of another thing."""

SHUFFLE_SEED = 0
_ROWS = 1024  # captions compared with all others at a time


def with_variants(pictures: CaptionedPictures, *, text: TextSource) -> CaptionedPictures:
    """The same pictures with all ``VARIANTS``; ``ValueError`` when all captions name the same thing.

    Args:
        pictures: with captions of the form "STYLE of NOUN PHRASE[, details]" or any other.
        text: token states of captions, by whose mean "near" is chosen.
    """
    captions, generator = pictures.captions, torch.Generator().manual_seed(SHUFFLE_SEED)
    nearest = near_misses(caption_features(captions, text=text), captions)
    variants = {
        "short": tuple(map(short, captions)),
        "thing": tuple(map(thing, captions)),
        "shuffled": tuple(shuffled(caption, generator=generator) for caption in captions),
        "near": tuple(captions[i] for i in nearest),
    }
    return replace(pictures, variants={**pictures.variants, **variants})


def shuffled(caption: str, *, generator: torch.Generator) -> str:
    """The same words in random order, without punctuation."""
    words = re.findall(r"[\w'-]+", caption)
    return " ".join(words[i] for i in torch.randperm(len(words), generator=generator).tolist())


def near_misses(states: Float[Tensor, "n d"], captions: Sequence[str]) -> list[int]:
    """For each caption the index of the most similar one that is about another thing; never a blank one.

    ``ValueError`` when all captions are about one thing.
    """
    things = [thing(caption) for caption in captions]
    if len({thing(caption) for caption in captions if caption.strip()}) < 2:
        raise ValueError("near misses: got captions that all name the same thing, expected at least 2 things")
    number = {name: i for i, name in enumerate(sorted(set(things)))}
    ids = torch.tensor([number[name] for name in things], device=states.device)
    blank = torch.tensor([not caption.strip() for caption in captions], device=states.device)
    unit = torch.nn.functional.normalize(states, dim=1)
    nearest = []
    for rows, row_ids in zip(unit.split(_ROWS), ids.split(_ROWS), strict=True):
        excluded = (row_ids[:, None] == ids[None, :]) | blank[None, :]
        nearest += (rows @ unit.T).masked_fill(excluded, -torch.inf).argmax(dim=1).tolist()
    return nearest
