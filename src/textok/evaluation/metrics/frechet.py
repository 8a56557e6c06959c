"""Fréchet distance between sets of pictures, from float64 statistics that add up over batches and ranks."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor


@dataclass(frozen=True)
class FeatureStatistics:
    """Sums of feature vectors and of their outer products: mean and covariance, mergeable by ``+``.

    Attributes:
        count: number of vectors.
        total: their sum, (d,), float64.
        outer: sum of outer products, (d, d), float64.
    """

    count: int
    total: Float64[Tensor, "d"]
    outer: Float64[Tensor, "d d"]

    @classmethod
    def of(cls, features: Float[Tensor, "n d"]) -> "FeatureStatistics":
        """Statistics of some vectors (n, d); n may be 0."""
        vectors = features.double()
        return cls(count=len(vectors), total=vectors.sum(dim=0), outer=vectors.T @ vectors)

    def __add__(self, other: "FeatureStatistics") -> "FeatureStatistics":
        return FeatureStatistics(
            count=self.count + other.count, total=self.total + other.total, outer=self.outer + other.outer
        )

    @cached_property
    def mean(self) -> Float64[Tensor, "d"]:
        """Mean vector (d,)."""
        return self.total / self.count

    @cached_property
    def covariance(self) -> Float64[Tensor, "d d"]:
        """Unbiased covariance (d, d).

        Raises:
            ValueError: with fewer than two vectors.
        """
        if self.count < 2:
            raise ValueError(f"Fréchet distance: got {self.count} pictures on one side; expected at least 2")
        return (self.outer - torch.outer(self.total, self.mean)) / (self.count - 1)

    @cached_property
    def covariance_root(self) -> Float64[Tensor, "d d"]:
        """Symmetric square root of the covariance."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """Fréchet distance of two Gaussians: |mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2)) (Heusel et al. 2017).

    The trace of (A B)^(1/2) is taken from the symmetric matrix A^(1/2) B A^(1/2), whose eigenvalues are the
    same and real, also when there are fewer pictures than feature channels.
    """
    product = a.covariance_root @ b.covariance @ a.covariance_root
    cross = torch.linalg.eigvalsh(product).clamp(min=0).sqrt().sum()
    spread = torch.trace(a.covariance) + torch.trace(b.covariance) - 2 * cross
    return float((a.mean - b.mean).square().sum() + spread)


@dataclass(frozen=True, kw_only=True)
class SplitStatistics:
    """Feature statistics of the pictures at even and at odd positions of a set.

    The two halves give the Fréchet distance its real-vs-real floor at an equal number of pictures.
    """

    even: FeatureStatistics
    odd: FeatureStatistics

    @classmethod
    def empty(cls, dim: int) -> "SplitStatistics":
        """Statistics of no picture yet."""
        nothing = FeatureStatistics.of(torch.zeros(0, dim))
        return cls(even=nothing, odd=nothing)

    @classmethod
    def of(cls, features: Float[Tensor, "b d"], indices: Int[Tensor, "b"]) -> "SplitStatistics":
        """Statistics of the vectors of the pictures at the positions ``indices``; kept in main memory."""
        vectors, odd = features.cpu(), indices.cpu() % 2 == 1
        return cls(even=FeatureStatistics.of(vectors[~odd]), odd=FeatureStatistics.of(vectors[odd]))

    @cached_property
    def whole(self) -> FeatureStatistics:
        """Statistics of all pictures."""
        return self.even + self.odd

    @cached_property
    def floor(self) -> float:
        """Fréchet distance between the two halves: what pictures of one kind score by themselves."""
        return frechet_distance(self.odd, self.even)

    def __add__(self, other: "SplitStatistics") -> "SplitStatistics":
        return SplitStatistics(even=self.even + other.even, odd=self.odd + other.odd)
