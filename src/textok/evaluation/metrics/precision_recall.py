"""Precision and recall of generated pictures against real ones, by nearest neighbours in feature space."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

_ROWS = 512  # rows of a distance matrix computed at a time: 50,000 vectors then need 0.2 GB


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
