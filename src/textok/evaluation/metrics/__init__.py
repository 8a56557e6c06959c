"""Metrics as functions and mergeable sums; each names what it compares and with which network."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum, isnan
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Float64, Int, Shaped
from torch import Tensor

from textok.evaluation.networks import FeatureNetwork, ImageFeatures, Pictures


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """A batch of originals and their reconstructions, both uint8, with the features of each by ``network``."""

    originals: Pictures
    reconstructions: Pictures
    original_features: ImageFeatures
    features: ImageFeatures
    network: FeatureNetwork


class PictureValues:
    """Columns of values by name, with one row per picture, in main memory."""

    def __init__(self) -> None:
        self._indices: list[Tensor] = []
        self._columns: dict[str, list[Tensor]] = {}

    def add(self, indices: Int[Tensor, "b"], columns: Mapping[str, Shaped[Tensor, "b ..."]]) -> None:
        """Add the pictures at the positions ``indices`` of the set."""
        self._indices.append(indices.cpu())
        for name, values in columns.items():
            self._columns.setdefault(name, []).append(values.cpu())

    def gather(self) -> None:
        """Bring the pictures of all ranks together, on every rank; a collective call."""
        parts = _from_all_ranks((self._indices, self._columns))
        self._indices = [indices for rank_indices, _ in parts for indices in rank_indices]
        names = dict.fromkeys(name for _, columns in parts for name in columns)
        self._columns = {name: [v for _, columns in parts for v in columns.get(name, [])] for name in names}

    def in_order(self) -> dict[str, Shaped[Tensor, "n ..."]]:
        """The columns, in the order of the set."""
        order = torch.cat(self._indices).argsort()
        return {name: torch.cat(values)[order] for name, values in self._columns.items()}


class VectorSums:
    """The sum of vectors (n, dim) and of their outer products, in float64: their size does not depend on n."""

    def __init__(self, dim: int) -> None:
        self.count = 0
        self._total = torch.zeros(dim, dtype=torch.float64)
        self._products = torch.zeros(dim, dim, dtype=torch.float64)

    def add(self, vectors: Float[Tensor, "n d"]) -> None:
        """Add some vectors; none is fine."""
        exact = vectors.cpu().double()
        self.count += len(exact)
        self._total += exact.sum(dim=0)
        self._products.addmm_(exact.T, exact)

    def gather(self) -> None:
        """Add up the sums of all ranks, on every rank; a collective call."""
        total = sum(_from_all_ranks(self), VectorSums(len(self._total)))
        vars(self).update(vars(total))

    def __add__(self, other: "VectorSums") -> "VectorSums":
        both = VectorSums(len(self._total))
        for name, value in vars(self).items():
            setattr(both, name, value + getattr(other, name))
        return both

    def moments(self, *, correction: int = 1) -> tuple[Float64[Tensor, "d"], Float64[Tensor, "d d"]]:
        """Mean and covariance; a ``correction`` of 1 makes the covariance the unbiased one, 0 that of the set."""
        mean = self._total / self.count
        spread = self._products - self.count * torch.outer(mean, mean)
        return mean, spread / (self.count - correction)


def means(columns: Mapping[str, Shaped[Tensor, "n"]]) -> dict[str, float]:
    """The mean of every column over the pictures that have a value, which is not NaN."""
    row = {}
    for name, column in columns.items():
        values = [value for value in column.tolist() if not isnan(value)]
        row[name] = fsum(values) / len(values)  # fsum: the mean does not depend on the order
    return row


def _from_all_ranks(value: Any) -> list[Any]:
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
