"""Metrics of reconstructions against their originals, picture by picture and as sets.

All of them read uint8 pictures, after this project's rule round(clamp((x + 1) * 127.5, 0, 255)): what a
viewer sees is what is measured. Per-image values are averaged over pictures.
"""

from dataclasses import dataclass, field
from functools import partial
from math import fsum

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from textok.evaluation.metrics.frechet import SplitStatistics, frechet_distance, frechet_distance_pca
from textok.evaluation.metrics.kernel_distance import kernel_distance
from textok.evaluation.metrics.perceptual import PERCEPTUAL
from textok.evaluation.metrics.picture_metric import Pairs, PictureMetric
from textok.evaluation.metrics.psnr import PSNR
from textok.evaluation.metrics.structural_similarity import MS_SSIM, SSIM
from textok.evaluation.networks import FeatureNetwork, ImageFeatures, distance_name, kernel_distance_name

PICTURE_METRICS: tuple[PictureMetric, ...] = (PSNR, SSIM, MS_SSIM, PERCEPTUAL)
"""The metrics of single pictures; a new one is one module that defines it, and its name here."""

MIN_FRECHET = 16
"""Fréchet distances are not reported for fewer pictures than this."""

PCA_COMPONENTS = 32
"""Directions of the Fréchet distance that is added where pictures are fewer than feature channels."""

MIN_PCA = 4 * PCA_COMPONENTS
"""... and how many pictures it takes."""

KERNEL_SEED = 0
"""Seed of the subsets of the kernel distance: the same in every cell of a table."""


def measure_pairs(pairs: Pairs) -> dict[str, list[float]]:
    """Every metric of ``PICTURE_METRICS`` that applies: name of the column -> one value per pair."""
    return {
        metric.column(pairs.network): metric.measure(pairs).tolist()
        for metric in PICTURE_METRICS
        if metric.applies(pairs)
    }


@dataclass(kw_only=True)
class PairedMetrics:
    """Running metrics of reconstructions against their originals; add two of them to merge chunks or ranks.

    Attributes:
        network: the feature network that learned metrics are computed with and named after.
        indices: positions in the set of the pictures seen so far.
        per_image: metric name -> one value per picture, in the order of ``indices``.
        statistics: features of the reconstructions, for the Fréchet distance.
    """

    network: FeatureNetwork
    statistics: SplitStatistics
    indices: list[int] = field(default_factory=list)
    per_image: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def empty(cls, network: FeatureNetwork) -> "PairedMetrics":
        """Metrics of no picture yet."""
        return cls(network=network, statistics=SplitStatistics.empty(network.dim))

    def update(
        self,
        originals: UInt8[Tensor, "b 3 h w"],
        reconstructions: UInt8[Tensor, "b 3 h w"],
        *,
        indices: Int[Tensor, "b"],
        original_features: ImageFeatures,
        features: ImageFeatures | None = None,
    ) -> None:
        """Add pairs of pictures that stand at the positions ``indices`` of the set.

        ``features`` are the network's of the reconstructions, where the caller has them already.
        """
        features = features or self.network(reconstructions)
        pairs = Pairs(
            originals=originals,
            reconstructions=reconstructions,
            original_features=original_features,
            features=features,
            network=self.network,
        )
        self.indices.extend(indices.tolist())
        for name, column in measure_pairs(pairs).items():
            self.per_image.setdefault(name, []).extend(column)
        self.statistics = self.statistics + SplitStatistics.of(features.pooled, indices)

    def __add__(self, other: "PairedMetrics") -> "PairedMetrics":
        names = self.per_image or other.per_image
        return PairedMetrics(
            network=self.network,
            statistics=self.statistics + other.statistics,
            indices=self.indices + other.indices,
            per_image={n: self.per_image.get(n, []) + other.per_image.get(n, []) for n in names},
        )

    def compute(self, originals: SplitStatistics) -> dict[str, float]:
        """Means over pictures, and distances between the sets with ``MIN_FRECHET`` pictures or more.

        ``fd_NETWORK`` (``fid`` with the published Inception) compares all reconstructions with all originals.
        ``..._unpaired`` compares one half of the reconstructions with the other half of the originals, and is
        to be read beside ``..._floor``, one half of the originals against the other: the same number of
        pictures, none of them on both sides.

        With fewer pictures than feature channels there are also the same three along the originals' first
        ``PCA_COMPONENTS`` principal directions (``fd_NETWORK_pca32...``, from ``MIN_PCA`` pictures), and
        ``kd_NETWORK`` with its standard error, the kernel distance of the unpaired halves: its floor is 0.
        """
        row = {name: fsum(column) / len(column) for name, column in self.per_image.items()}
        if len(self.indices) < MIN_FRECHET:
            return row
        name = distance_name(self.network)
        row[name] = frechet_distance(originals.whole, self.statistics.whole)
        row[f"{name}_unpaired"] = frechet_distance(originals.odd, self.statistics.even)
        row[f"{name}_floor"] = originals.floor
        return row | (self._few_pictures(originals) if len(self.indices) < self.network.dim else {})

    def _few_pictures(self, originals: SplitStatistics) -> dict[str, float]:
        row = {}
        if len(self.indices) >= MIN_PCA:
            name = f"{distance_name(self.network)}_pca{PCA_COMPONENTS}"
            distance = partial(frechet_distance_pca, components=PCA_COMPONENTS)
            row[name] = distance(originals.whole, self.statistics.whole)
            row[f"{name}_unpaired"] = distance(originals.odd, self.statistics.even)
            row[f"{name}_floor"] = distance(originals.odd, originals.even)
        name = kernel_distance_name(self.network)
        generator = torch.Generator().manual_seed(KERNEL_SEED)
        distance = kernel_distance(
            originals.placed.half(odd=True), self.statistics.placed.half(odd=False), generator=generator
        )
        return row | {name: distance.value, f"{name}_standard_error": distance.standard_error}
