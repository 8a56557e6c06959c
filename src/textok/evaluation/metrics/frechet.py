"""Fréchet distance between sets of pictures, in float64."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from textok.evaluation.metrics import PictureValues, VectorSums


@dataclass(frozen=True, kw_only=True)
class FeatureStatistics:
    """What the Fréchet distance of ``count`` feature vectors is computed from: their mean, and a matrix F whose product
    F^T F is their unbiased covariance.

    Of at most d vectors F holds these, centred, so that distances of small sets need no matrix of all channels.
    """

    count: int
    mean: Float64[Tensor, "d"]
    factor: Float64[Tensor, "r d"]

    @classmethod
    def of(cls, features: Float[Tensor, "n d"]) -> "FeatureStatistics":
        """Statistics of some vectors; ``ValueError`` with fewer than two."""
        count, dim = features.shape
        if count < 2:
            raise ValueError(f"Fréchet distance: got {count} pictures on one side, expected at least 2")
        mean = features.double().mean(dim=0)
        factor = (features.double() - mean) / math.sqrt(count - 1)
        if count <= dim:
            return cls(count=count, mean=mean, factor=factor)
        return cls.from_moments(mean, factor.T @ factor, count)

    @classmethod
    def from_moments(
        cls, mean: Float[Tensor, "d"], covariance: Float[Tensor, "d d"], count: int
    ) -> "FeatureStatistics":
        """Statistics of ``count`` vectors, of which the mean and the unbiased covariance are known."""
        lower, failed = torch.linalg.cholesky_ex(covariance.double())
        if not failed:
            return cls(count=count, mean=mean.double(), factor=lower.T)
        # The covariance of few vectors is singular: take its symmetric root.
        values, vectors = torch.linalg.eigh(covariance.double())
        root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        return cls(count=count, mean=mean.double(), factor=root)

    @classmethod
    def of_sums(cls, sums: VectorSums) -> "FeatureStatistics":
        """Statistics of more vectors than are kept."""
        return cls.from_moments(*sums.moments(), sums.count)

    @property
    def dim(self) -> int:
        """Channels of a vector."""
        return len(self.mean)

    @property
    def covariance(self) -> Float64[Tensor, "d d"]:
        """Unbiased covariance."""
        return self.factor.T @ self.factor

    @cached_property
    def directions(self) -> Float64[Tensor, "d r"]:
        """The principal directions as columns, that of the largest variance first."""
        return torch.linalg.svd(self.factor, full_matrices=False)[2].T

    def along(self, directions: Float64[Tensor, "d k"]) -> "FeatureStatistics":
        """Statistics of the vectors' components along k directions."""
        factor = self.factor @ directions
        return FeatureStatistics.from_moments(self.mean @ directions, factor.T @ factor, self.count)


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """Fréchet distance of two Gaussians: |mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2)) (Heusel et al. 2017).

    ``ValueError`` for vectors of different lengths.
    """
    if a.dim != b.dim:
        raise ValueError(
            f"Fréchet distance: got features of {a.dim} and {b.dim} channels, expected both from one network"
        )
    variances = a.factor.square().sum() + b.factor.square().sum()
    # For A = F^T F and B = G^T G the trace of the root is the sum of the singular values of F G^T.
    product = a.factor @ b.factor.T
    if min(product.shape) < a.dim:
        root = torch.linalg.svdvals(product).sum()
    else:  # the same in a sixth of the time, but for rounding
        root = torch.linalg.eigvalsh(product @ product.T).clamp(min=0).sqrt().sum()
    return float((a.mean - b.mean).square().sum() + variances - 2 * root)


def frechet_distance_pca(a: FeatureStatistics, b: FeatureStatistics, *, components: int) -> float:
    """Fréchet distance along the ``components`` directions in which ``a``, the real pictures, varies most.

    With fewer pictures than channels most of a covariance matrix is unknown; along a few directions it is not. The
    value is not comparable with that of all channels. ``ValueError`` when ``a`` has too few vectors or channels.
    """
    most = min(a.dim, a.count - 1)
    if not 1 <= components <= most:
        raise ValueError(
            f"Fréchet distance, components: got {components} of {a.count} vectors of {a.dim} channels, expected 1 to "
            f"{most}"
        )
    directions = a.directions[:, :components]
    return frechet_distance(a.along(directions), b.along(directions))


class SplitFeatures:
    """The feature vectors of a picture set, and of its halves at even and at odd positions.

    The two halves give the Fréchet distance its real-vs-real floor at an equal number of pictures. The vectors
    themselves are kept while they take no more memory than their sums, 16 bytes times ``dim`` squared; of more
    pictures only the sums are.
    """

    def __init__(self, *, count: int, dim: int) -> None:
        self.count = count
        self._values = PictureValues()
        self._sums = None if count <= 4 * dim else (VectorSums(dim), VectorSums(dim))

    @classmethod
    def of(cls, vectors: Float[Tensor, "n d"]) -> "SplitFeatures":
        """A whole set at once."""
        features = cls(count=len(vectors), dim=vectors.shape[1])
        features.add(torch.arange(len(vectors)), vectors)
        return features

    def add(self, indices: Int[Tensor, "b"], vectors: Float[Tensor, "b d"]) -> None:
        """Add the pictures at the positions ``indices`` of the set."""
        if self._sums is None:
            self._values.add(indices, {"vectors": vectors})
        for half, sums in enumerate(self._sums or ()):
            sums.add(vectors.cpu()[indices.cpu() % 2 == half])

    def gather(self) -> None:
        """Bring the pictures of all ranks together, on every rank; a collective call."""
        for part in self._sums or (self._values,):
            part.gather()

    @property
    def vectors(self) -> Float[Tensor, "n d"]:
        """The vectors in order; only of a set that keeps them, which has up to four times as many as channels."""
        return self._values.in_order()["vectors"]

    @cached_property
    def whole(self) -> FeatureStatistics:
        """Statistics of the whole set."""
        if self._sums is None:
            return FeatureStatistics.of(self.vectors)
        return FeatureStatistics.of_sums(self._sums[0] + self._sums[1])

    @cached_property
    def even(self) -> FeatureStatistics:
        """Statistics of the half at even positions."""
        return self._half(0)

    @cached_property
    def odd(self) -> FeatureStatistics:
        """Statistics of the half at odd positions."""
        return self._half(1)

    @cached_property
    def floor(self) -> float:
        """Fréchet distance between the two halves: what pictures of one kind score by themselves."""
        return frechet_distance(self.odd, self.even)

    def _half(self, start: int) -> FeatureStatistics:
        if self._sums is None:
            return FeatureStatistics.of(self.vectors[start::2])
        return FeatureStatistics.of_sums(self._sums[start])
