"""Fréchet distance between sets of pictures, in float64."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Float64
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class FeatureStatistics:
    """The statistics of a set of feature vectors that the Fréchet distance is computed from.

    Up to as many vectors as channels are kept themselves: their distances then need no matrix of all channels.
    Of more, the sums of them and of their outer products are kept.

    Attributes:
        count: number of vectors.
        total: their sum, (d,), float64.
        vectors: the vectors (n, d), at most d of them; None where only sums are known.
        products: sum of their outer products, (d, d), float64; None while the vectors are kept.
    """

    count: int
    total: Float64[Tensor, "d"]
    vectors: Float[Tensor, "n d"] | None = None
    products: Float64[Tensor, "d d"] | None = None

    @classmethod
    def of(cls, features: Float[Tensor, "n d"]) -> "FeatureStatistics":
        """Statistics of some vectors (n, d); n may be 0."""
        exact = features.double()
        count, dim = features.shape
        if count <= dim:
            return cls(count=count, total=exact.sum(dim=0), vectors=features)
        return cls(count=count, total=exact.sum(dim=0), products=exact.T @ exact)

    @classmethod
    def from_moments(
        cls, mean: Float[Tensor, "d"], covariance: Float[Tensor, "d d"], count: int
    ) -> "FeatureStatistics":
        """Statistics of ``count`` vectors, of which the mean and the unbiased covariance are known."""
        centre = mean.double()
        products = covariance.double() * (count - 1) + count * torch.outer(centre, centre)
        return cls(count=count, total=centre * count, products=products)

    @property
    def dim(self) -> int:
        """Channels of a vector."""
        return len(self.total)

    @property
    def outer(self) -> Float64[Tensor, "d d"]:
        """Sum of the outer products (d, d)."""
        if self.products is not None:
            return self.products
        assert self.vectors is not None
        exact = self.vectors.double()
        return exact.T @ exact

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
        if self.vectors is not None:
            return self.factor.T @ self.factor
        self._check_count()
        return (self.outer - torch.outer(self.total, self.mean)) / (self.count - 1)

    @property
    def variance(self) -> Float64[Tensor, ""]:
        """Trace of the covariance."""
        return self.factor.square().sum() if self.vectors is not None else torch.trace(self.covariance)

    @cached_property
    def factor(self) -> Float64[Tensor, "r d"]:
        """A matrix F with covariance F^T F: the centred vectors where they are kept, else its symmetric root.

        Raises:
            ValueError: with fewer than two vectors.
        """
        if self.vectors is None:
            values, vectors = torch.linalg.eigh(self.covariance)
            return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        self._check_count()
        return (self.vectors.double() - self.mean) / math.sqrt(self.count - 1)

    @cached_property
    def directions(self) -> Float64[Tensor, "d r"]:
        """The principal directions as columns, that of the largest variance first."""
        if self.vectors is None:
            return torch.linalg.eigh(self.covariance)[1].flip(1)
        return torch.linalg.svd(self.factor, full_matrices=False)[2].T

    def along(self, directions: Float64[Tensor, "d k"]) -> "FeatureStatistics":
        """Statistics of the vectors' components along k directions."""
        if self.vectors is not None:
            return FeatureStatistics.of(self.vectors.double() @ directions)
        products = directions.T @ self.outer @ directions
        return FeatureStatistics(count=self.count, total=self.total @ directions, products=products)

    def _check_count(self) -> None:
        if self.count < 2:
            raise ValueError(f"Fréchet distance: got {self.count} pictures on one side; expected at least 2")


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """Fréchet distance of two Gaussians: |mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2)) (Heusel et al. 2017).

    Raises:
        ValueError: for vectors of different lengths, or fewer than two of them on a side.
    """
    if a.dim != b.dim:
        raise ValueError(
            f"Fréchet distance: got features of {a.dim} and {b.dim} channels; expected both from one network"
        )
    spread = a.variance + b.variance - 2 * _trace_of_root(a, b)
    return float((a.mean - b.mean).square().sum() + spread)


def _trace_of_root(a: FeatureStatistics, b: FeatureStatistics) -> Float64[Tensor, ""]:
    """Tr (A B)^(1/2) for A = F^T F and B = G^T G: the sum of the singular values of F G^T.

    Their squares are the eigenvalues of F B F^T, so one factor is enough; the other covariance is factored
    only where it is cheap and exact: where its vectors are kept.
    """
    if a.vectors is None and b.vectors is not None:
        a, b = b, a
    if b.vectors is not None:
        return torch.linalg.svdvals(a.factor @ b.factor.T).sum()
    return torch.linalg.eigvalsh(a.factor @ b.covariance @ a.factor.T).clamp(min=0).sqrt().sum()


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
    directions = a.directions[:, :components]
    return frechet_distance(a.along(directions), b.along(directions))


class SplitStatistics:
    """Feature statistics of a set, and of the halves of it at even and at odd positions.

    The two halves give the Fréchet distance its real-vs-real floor at an equal number of pictures.
    """

    def __init__(self, vectors: Float[Tensor, "n d"]) -> None:
        self.even_vectors, self.odd_vectors = vectors[0::2], vectors[1::2]
        self.even, self.odd = FeatureStatistics.of(self.even_vectors), FeatureStatistics.of(self.odd_vectors)
        self.whole = FeatureStatistics.of(vectors)

    @cached_property
    def floor(self) -> float:
        """Fréchet distance between the two halves: what pictures of one kind score by themselves."""
        return frechet_distance(self.odd, self.even)
