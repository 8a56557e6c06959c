"""Metrics by nearest neighbours in feature space: copies of training pictures, precision and recall."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn.functional import normalize

CLOSE_QUANTILE = 0.01
"""Nearer to a training picture than this share of the held-out real pictures counts as suspiciously close."""

_ROWS = 512  # rows of a distance matrix computed at a time: 50,000 vectors then need 0.2 GB


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
            f"nearest neighbours: got count {count} of {len(references)} references, expected fewer"
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


class PrecisionRecall(NamedTuple):
    """Shares from 0 to 1: of generated pictures inside the region of the real ones (quality), and of real pictures
    inside the region of the generated ones (coverage).
    """

    precision: float
    recall: float


def precision_recall(
    real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"], *, neighbours: int = 3
) -> PrecisionRecall:
    """Improved precision and recall (Kynkäänniemi et al. 2019, section 2).

    The region of a set is the union of balls around its vectors, each reaching to the vector's
    ``neighbours``-th nearest of the same set. Distances are Euclidean, in float64, a block of rows at a time.

    Raises:
        ValueError: when a set has no more vectors than ``neighbours``.
    """
    if not 1 <= neighbours < min(len(real), len(generated)):
        raise ValueError(
            f"precision and recall: got {len(real)} real and {len(generated)} generated vectors with {neighbours} "
            "neighbours, expected at least 1 neighbour and more vectors than that in either set"
        )
    precision = _share_inside(generated, real, neighbours)
    return PrecisionRecall(precision, _share_inside(real, generated, neighbours))


def _share_inside(queries: Float[Tensor, "n d"], centres: Float[Tensor, "m d"], neighbours: int) -> float:
    queries, centres = queries.double(), centres.double()
    radii = _squared_radii(centres, neighbours)
    inside = [(_squared_distances(rows, centres) <= radii).any(dim=1) for rows in queries.split(_ROWS)]
    return float(torch.cat(inside).double().mean())


def _squared_radii(vectors: Float64[Tensor, "n d"], neighbours: int) -> Float64[Tensor, "n"]:
    radii = []
    for indices in torch.arange(len(vectors), device=vectors.device).split(_ROWS):
        distances = _squared_distances(vectors[indices], vectors)
        distances.scatter_(1, indices[:, None], torch.inf)  # a vector is not its own neighbour
        radii.append(distances.topk(neighbours, dim=1, largest=False).values[:, -1])
    return torch.cat(radii)


def _squared_distances(x: Float64[Tensor, "n d"], y: Float64[Tensor, "m d"]) -> Float64[Tensor, "n m"]:
    return x.square().sum(dim=1)[:, None] + y.square().sum(dim=1) - 2 * x @ y.T
