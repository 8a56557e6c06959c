"""Metrics of sets of pictures by their feature vectors, in float64: Fréchet and kernel distance, copies, precision and
recall, and the Inception score.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn.functional import normalize

from textok.evaluation.metrics import PictureValues, VectorSums

_ROWS = 512  # rows of a distance matrix computed at a time: 50,000 vectors then need 0.2 GB


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


class KernelDistance(NamedTuple):
    """The mean over subsets of the unbiased squared distance, which is 0 on average for sets of one kind (so that it
    may be negative), and its standard error.

    That is a delete-d jackknife over the subsets (Shao and Wu 1989): their standard deviation times sqrt(m / (n - m)),
    m the subset size and n the smaller set. For sets of one kind it errs on the large side.
    """

    value: float
    standard_error: float


def kernel_distance(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    *,
    generator: torch.Generator,
    subsets: int = 100,
    subset_size: int = 1000,
) -> KernelDistance:
    """Unbiased squared maximum mean discrepancy under the kernel (x . y / d + 1)^3, in float64.

    Needs no more vectors than dimensions, unlike the Fréchet distance; both are 0 for equal distributions. The
    generator, on the CPU, draws ``subset_size`` vectors of each set, without replacement, but at most half of the
    smaller set, so that subsets differ. ``ValueError`` for fewer than 4 vectors in a set, or 2 of the others.
    """
    smaller = min(len(a), len(b))
    if smaller < 4 or subsets < 2 or subset_size < 2:
        raise ValueError(
            f"kernel distance: got {len(a)} and {len(b)} vectors, {subsets} subsets of {subset_size}, expected "
            "4 vectors, 2 subsets and a subset size of 2, or more"
        )
    size = min(subset_size, smaller // 2)
    draws = [
        tuple(torch.randperm(len(x), generator=generator)[:size].to(x.device) for x in (a, b))
        for _ in range(subsets)
    ]
    if max(len(a), len(b)) <= 2 * subset_size:
        # Small sets share their vectors among the subsets: their kernels are computed once.
        aa, bb, ab = _kernel(a, a), _kernel(b, b), _kernel(a, b)
        distances = [_discrepancy(aa[i][:, i], bb[j][:, j], ab[i][:, j]) for i, j in draws]
    else:
        pairs = ((a[i], b[j]) for i, j in draws)
        distances = [_discrepancy(_kernel(x, x), _kernel(y, y), _kernel(x, y)) for x, y in pairs]
    values = torch.stack(distances)
    error = float(values.std(correction=0)) * math.sqrt(size / (smaller - size))
    return KernelDistance(value=float(values.mean()), standard_error=error)


def _kernel(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float64[Tensor, "n m"]:
    return (x.double() @ y.double().T / x.shape[1] + 1) ** 3


def _discrepancy(
    aa: Float64[Tensor, "s s"], bb: Float64[Tensor, "s s"], ab: Float64[Tensor, "s s"]
) -> Float64[Tensor, ""]:
    size = len(ab)
    within = aa.sum() - aa.trace() + bb.sum() - bb.trace()
    return within / (size * (size - 1)) - 2 * ab.mean()


class NearestNeighbours(NamedTuple):
    """Of every query the nearest reference: its cosine distance (0 to 2), and its row."""

    distances: Float64[Tensor, "n"]
    indices: Int[Tensor, "n"]


def nearest_neighbours(queries: Float[Tensor, "n d"], references: Float[Tensor, "m d"]) -> NearestNeighbours:
    """The reference with the smallest cosine distance to each query, in float64; there must be one."""
    units = normalize(references.double(), dim=1)
    blocks = [(normalize(rows.double(), dim=1) @ units.T).max(dim=1) for rows in queries.split(_ROWS)]
    similarities = torch.cat([block.values for block in blocks])
    return NearestNeighbours((1 - similarities).clamp(min=0), torch.cat([block.indices for block in blocks]))


def copying_row(distances: Float64[Tensor, "n"], held_out: Float64[Tensor, "o"]) -> dict[str, float]:
    """Are generated pictures nearer to the training pictures than real pictures are that were never trained on?

    From the ``distances`` of generated pictures to the nearest training picture, and those of ``held_out`` real
    pictures: the medians of both, and ``copied_share``, the share of generated pictures nearer to a training picture
    than the nearest 1 % of the held-out ones (about 0.01 without copying, for pictures of the same kind).
    """
    return {
        "nearest_train_median": float(distances.median()),
        "nearest_train_median_held_out": float(held_out.median()),
        "copied_share": float((distances <= held_out.quantile(0.01)).double().mean()),
    }


def precision_recall(
    real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"], *, neighbours: int = 3
) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, section 2): the share of generated pictures inside the
    region of the real ones (quality), and of real pictures inside the region of the generated ones (coverage).

    The region of a set is the union of balls around its vectors, each reaching to the vector's ``neighbours``-th
    nearest of the same set, by Euclidean distance in float64. ``ValueError`` when a set has no more vectors than that.
    """
    if not 1 <= neighbours < min(len(real), len(generated)):
        raise ValueError(
            f"precision and recall: got {len(real)} real and {len(generated)} generated vectors with {neighbours} "
            "neighbours, expected at least 1 neighbour and more vectors than that in either set"
        )
    return _share_inside(generated, real, neighbours), _share_inside(real, generated, neighbours)


def _share_inside(queries: Float[Tensor, "n d"], centres: Float[Tensor, "m d"], neighbours: int) -> float:
    queries, centres, parts = queries.double(), centres.double(), list[Tensor]()
    for indices in torch.arange(len(centres), device=centres.device).split(_ROWS):
        distances = _squared_distances(centres[indices], centres)
        distances.scatter_(1, indices[:, None], torch.inf)  # a vector is not its own neighbour
        parts.append(distances.topk(neighbours, dim=1, largest=False).values[:, -1])
    radii = torch.cat(parts)
    inside = [(_squared_distances(rows, centres) <= radii).any(dim=1) for rows in queries.split(_ROWS)]
    return float(torch.cat(inside).double().mean())


def _squared_distances(x: Float64[Tensor, "n d"], y: Float64[Tensor, "m d"]) -> Float64[Tensor, "n m"]:
    return x.square().sum(dim=1)[:, None] + y.square().sum(dim=1) - 2 * x @ y.T


def inception_score(logits: Float[Tensor, "n c"], *, splits: int = 10) -> tuple[float, float]:
    """Exp of the mean divergence of p(class | picture) from p(class) (Salimans et al. 2016, section 4).

    The pictures are cut into ``splits`` runs in their order, as published; the marginal p(class) is that of the run.
    Returns mean and (population) standard deviation over the runs, from 1 to the number of classes, by float64.
    ``ValueError`` when there are fewer pictures than runs.
    """
    if not 1 <= splits <= len(logits):
        raise ValueError(
            f"Inception score: got {splits} splits of {len(logits)} pictures, expected 1 to as many"
        )
    scores = []
    for part in torch.tensor_split(logits.double().log_softmax(dim=1), splits):
        marginal = part.logsumexp(dim=0) - torch.tensor(float(len(part)), dtype=torch.float64).log()
        # Of a class that no picture can have, both logarithms are -inf: it adds nothing.
        divergence = torch.where(part.isneginf(), 0.0, part.exp() * (part - marginal))
        scores.append(divergence.sum(dim=1).mean().exp())
    values = torch.stack(scores)
    return float(values.mean()), float(values.std(correction=0))
