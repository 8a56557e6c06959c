"""Captions as vectors (means of a frozen text encoder's token states), and retrieval of a picture's own among them."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from textok.models.text import TextCondition

TextSource = Callable[[Sequence[str]], TextCondition]
"""Captions to their token embeddings: a TextEncoder or a caption cache. "" is no caption."""


def mean_states(text: TextCondition) -> Float[Tensor, "b d"]:
    """Mean of the token states over each caption's real tokens, in fp32; zeros where there is no caption."""
    mask = text.mask[..., None]
    total = text.embeddings.float().masked_fill(~mask, 0.0).sum(dim=1)
    return total / mask.sum(dim=1).clamp(min=1)


@torch.no_grad()
def caption_features(
    captions: Sequence[str], *, text: TextSource, batch_size: int = 256
) -> Float[Tensor, "n d"]:
    """Mean token states of n captions (at least one)."""
    starts = range(0, len(captions), batch_size)
    return torch.cat([mean_states(text(captions[start : start + batch_size])) for start in starts])


def caption_places(captions: Sequence[str]) -> tuple[list[str], Int[Tensor, "n"]]:
    """The distinct captions, in order of first use, and each picture's index among them; -1 for a blank one."""
    distinct = list(dict.fromkeys(caption for caption in captions if caption.strip()))
    indices = {caption: index for index, caption in enumerate(distinct)}
    return distinct, torch.tensor([indices.get(caption, -1) for caption in captions], dtype=torch.long)


def ranks_of_own(
    pictures: Float[Tensor, "b e"], captions: Float[Tensor, "m e"], own: Int[Tensor, "b"]
) -> Int[Tensor, "b"]:
    """How many other captions score at least as high as the picture's own: 0 means it comes first.

    A tie counts against the picture, so that vectors which are all alike retrieve nothing.

    Args:
        pictures: unit vectors of b pictures.
        captions: unit vectors of the m distinct captions.
        own: index of each picture's own caption among them.
    """
    scores = pictures @ captions.T
    return (scores >= scores.gather(1, own[:, None])).sum(dim=1) - 1
