"""Nearest neighbours in feature space, and the check that a generator does not copy its training pictures."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn.functional import normalize

CLOSE_QUANTILE = 0.01
"""Nearer to a training picture than this share of the held-out real pictures counts as suspiciously close."""

_ROWS = 512  # rows of a distance matrix computed at a time


class NearestNeighbours(NamedTuple):
    """Of every query the nearest references, nearest first: cosine distances (0 to 2) and rows of the references."""

    distances: Float64[Tensor, "n count"]
    indices: Int[Tensor, "n count"]


def nearest_neighbours(
    queries: Float[Tensor, "n d"], references: Float[Tensor, "m d"], *, count: int = 1
) -> NearestNeighbours:
    """The ``count`` references with the smallest cosine distance to each query, in float64.

    Raises:
        ValueError: when there are fewer references than ``count``.
    """
    if not 1 <= count <= len(references):
        raise ValueError(
            f"nearest neighbours: got count {count} of {len(references)} references; expected fewer"
        )
    units = normalize(references.double(), dim=1)
    blocks = [(normalize(rows.double(), dim=1) @ units.T).topk(count, dim=1) for rows in queries.split(_ROWS)]
    similarities = torch.cat([block.values for block in blocks])
    return NearestNeighbours(
        distances=(1 - similarities).clamp(min=0), indices=torch.cat([block.indices for block in blocks])
    )


def copying_row(
    generated: Float[Tensor, "n d"], train: Float[Tensor, "m d"], held_out: Float[Tensor, "o d"]
) -> dict[str, float]:
    """Are generated pictures nearer to the training pictures than real pictures are that were never trained on?

    Args:
        generated: features of generated pictures.
        train: features of the training pictures.
        held_out: features of real pictures outside the training set.

    Returns:
        ``nearest_train_median`` and ``nearest_train_median_held_out``, medians of the cosine distance to the
        nearest training picture; ``copied_share``, the share of generated pictures nearer to one than the nearest
        1 % of the held-out pictures (about 0.01 without copying, for pictures of the same kind).
    """
    distances = nearest_neighbours(generated, train).distances[:, 0]
    real_distances = nearest_neighbours(held_out, train).distances[:, 0]
    close = real_distances.quantile(CLOSE_QUANTILE)
    return {
        "nearest_train_median": float(distances.median()),
        "nearest_train_median_held_out": float(real_distances.median()),
        "copied_share": float((distances <= close).double().mean()),
    }
