"""Caption retrieval: which of a set's captions a picture is nearest to."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor


def caption_places(captions: Sequence[str]) -> tuple[list[str], Int[Tensor, "n"]]:
    """The distinct captions, in order of first use, and each picture's place among them; -1 for a blank one."""
    distinct = list(dict.fromkeys(caption for caption in captions if caption.strip()))
    places = {caption: place for place, caption in enumerate(distinct)}
    return distinct, torch.tensor([places.get(caption, -1) for caption in captions], dtype=torch.long)


def ranks_of_own(
    pictures: Float[Tensor, "b e"], captions: Float[Tensor, "m e"], own: Int[Tensor, "b"]
) -> Int[Tensor, "b"]:
    """How many other captions score at least as high as the picture's own: 0 means it comes first.

    A tie counts against the picture, so that vectors which tell nothing apart find nothing.

    Args:
        pictures: unit vectors of b pictures.
        captions: unit vectors of the m distinct captions.
        own: place of each picture's own caption among them.
    """
    scores = pictures @ captions.T
    return (scores >= scores.gather(1, own[:, None])).sum(dim=1) - 1
