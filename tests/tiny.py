"""Tiny models, invented text and small pictures, for the tests of every room."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def invented_states(captions: Sequence[str]) -> list[Tensor]:
    """Three to ten token states a caption that depend on nothing but the caption."""
    found = []
    for caption in captions:
        seed = int.from_bytes(hashlib.sha256(caption.encode()).digest()[:6], "big")
        random = torch.Generator().manual_seed(seed)
        found.append(torch.randn(3 + seed % 8, 384, generator=random))
    return found
