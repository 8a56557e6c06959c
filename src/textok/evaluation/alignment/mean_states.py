"""One vector a caption: the mean of a frozen text encoder's token states."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from textok.models.text import TextCondition

TextSource = Callable[[Sequence[str]], TextCondition]
"""Captions to their token embeddings: a TextEncoder or a caption cache. "" is no caption."""


def mean_states(text: TextCondition) -> Float[Tensor, "b d"]:
    """Mean of the token states over each caption's real tokens, in fp32; zeros where there is no caption."""
    present = text.mask[..., None]
    total = text.embeddings.float().masked_fill(~present, 0.0).sum(dim=1)
    return total / present.sum(dim=1).clamp(min=1)


@torch.no_grad()
def caption_features(
    captions: Sequence[str], *, text: TextSource, batch_size: int = 256
) -> Float[Tensor, "n d"]:
    """Mean token states of n captions (at least one)."""
    starts = range(0, len(captions), batch_size)
    return torch.cat([mean_states(text(captions[start : start + batch_size])) for start in starts])
