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

    @classmethod
    def from_moments(
        cls, mean: Float[Tensor, "d"], covariance: Float[Tensor, "d d"], count: int
    ) -> "FeatureStatistics":
        """Statistics of ``count`` vectors, of which the mean and the unbiased covariance are known."""
        centre = mean.double()
        outer = covariance.double() * (count - 1) + count * torch.outer(centre, centre)
        return cls(count=count, total=centre * count, outer=outer)

    def __add__(self, other: "FeatureStatistics") -> "FeatureStatistics":
        return FeatureStatistics(
            count=self.count + other.count, total=self.total + other.total, outer=self.outer + other.outer
        )

    @property
    def dim(self) -> int:
        """Channels of a vector."""
        return len(self.total)

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
    def spectrum(self) -> tuple[Float64[Tensor, "d"], Float64[Tensor, "d d"]]:
        """Variances along the principal directions, smallest first, and these directions as columns."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return values.clamp(min=0), vectors

    @cached_property
    def covariance_root(self) -> Float64[Tensor, "d d"]:
        """Symmetric square root of the covariance."""
        values, vectors = self.spectrum
        return (vectors * values.sqrt()) @ vectors.T

    def along(self, directions: Float64[Tensor, "d k"]) -> "FeatureStatistics":
        """Statistics of the vectors' components along k directions."""
        total, outer = self.total @ directions, directions.T @ self.outer @ directions
        return FeatureStatistics(count=self.count, total=total, outer=outer)


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """Fréchet distance of two Gaussians: |mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2)) (Heusel et al. 2017).

    The trace of (A B)^(1/2) is computed as that of (A^(1/2) B A^(1/2))^(1/2), whose eigenvalues are the
    same and real, also when there are fewer pictures than feature channels.

    Raises:
        ValueError: for vectors of different lengths, or fewer than two of them on a side.
    """
    if a.dim != b.dim:
        raise ValueError(
            f"Fréchet distance: got features of {a.dim} and {b.dim} channels; expected both from one network"
        )
    product = a.covariance_root @ b.covariance @ a.covariance_root
    cross = torch.linalg.eigvalsh(product).clamp(min=0).sqrt().sum()
    spread = torch.trace(a.covariance) + torch.trace(b.covariance) - 2 * cross
    return float((a.mean - b.mean).square().sum() + spread)


def frechet_distance_pca(a: FeatureStatistics, b: FeatureStatistics, *, components: int) -> float:
    """Fréchet distance along the ``components`` directions in which ``a``, the real pictures, varies most.

    With fewer pictures than channels most of a covariance matrix is unknown; along a few directions it is not.
    The value is not comparable with that of all channels.

    Raises:
        ValueError: when ``a`` has too few vectors or channels for that many directions.
    """
    if not 1 <= components <= min(a.dim, a.count - 1):
        raise ValueError(
            f"Fréchet distance, components: got {components} of {a.count} vectors of {a.dim} channels; "
            f"expected 1 to {min(a.dim, a.count - 1)}"
        )
    directions = a.spectrum[1][:, -components:]
    return frechet_distance(a.along(directions), b.along(directions))


@dataclass(frozen=True, kw_only=True)
class PlacedFeatures:
    """The feature vectors themselves, for distances that are not made of sums, with their pictures' positions.

    A set keeps the vectors of its first d positions only, d the channels of a vector: with more pictures than
    that the sums say enough.
    """

    positions: Int[Tensor, "n"]
    vectors: Float[Tensor, "n d"]

    @classmethod
    def of(cls, features: Float[Tensor, "b d"], indices: Int[Tensor, "b"]) -> "PlacedFeatures":
        """The vectors of the pictures at the positions ``indices``, both in main memory."""
        kept = indices < features.shape[1]
        return cls(positions=indices[kept], vectors=features[kept].float())

    def half(self, *, odd: bool) -> Float[Tensor, "m d"]:
        """The vectors at odd or at even positions, in the order of the set."""
        order = self.positions.argsort()
        return self.vectors[order[self.positions[order] % 2 == int(odd)]]

    def __add__(self, other: "PlacedFeatures") -> "PlacedFeatures":
        return PlacedFeatures(
            positions=torch.cat((self.positions, other.positions)),
            vectors=torch.cat((self.vectors, other.vectors)),
        )


@dataclass(frozen=True, kw_only=True)
class SplitStatistics:
    """Feature statistics of the pictures at even and at odd positions of a set.

    The two halves give the Fréchet distance its real-vs-real floor at an equal number of pictures.
    """

    even: FeatureStatistics
    odd: FeatureStatistics
    placed: PlacedFeatures

    @classmethod
    def empty(cls, dim: int) -> "SplitStatistics":
        """Statistics of no picture yet."""
        return cls.of(torch.zeros(0, dim), torch.zeros(0, dtype=torch.int64))

    @classmethod
    def of(cls, features: Float[Tensor, "b d"], indices: Int[Tensor, "b"]) -> "SplitStatistics":
        """Statistics of the vectors of the pictures at the positions ``indices``; kept in main memory."""
        vectors, places = features.cpu(), indices.cpu()
        odd = places % 2 == 1
        return cls(
            even=FeatureStatistics.of(vectors[~odd]),
            odd=FeatureStatistics.of(vectors[odd]),
            placed=PlacedFeatures.of(vectors, places),
        )

    @cached_property
    def whole(self) -> FeatureStatistics:
        """Statistics of all pictures."""
        return self.even + self.odd

    @cached_property
    def floor(self) -> float:
        """Fréchet distance between the two halves: what pictures of one kind score by themselves."""
        return frechet_distance(self.odd, self.even)

    def __add__(self, other: "SplitStatistics") -> "SplitStatistics":
        return SplitStatistics(
            even=self.even + other.even, odd=self.odd + other.odd, placed=self.placed + other.placed
        )
