"""Metrics of reconstructions against their originals, picture by picture and as sets.

All of them read uint8 pictures: what a viewer sees is what is measured. Values of single pictures are averaged.
"""

from functools import partial

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from textok.evaluation.metrics import Meaning, Pairs, PictureMetric
from textok.evaluation.metrics.feature_sets import kernel_distance
from textok.evaluation.metrics.frechet import SplitFeatures, frechet_distance, frechet_distance_pca
from textok.evaluation.metrics.structural_similarity import MS_SSIM, SSIM
from textok.evaluation.networks import FeatureNetwork, ImageFeatures, metric_name
from textok.objectives.quality import psnr_per_image


def perceptual_per_image(originals: ImageFeatures, reconstructions: ImageFeatures) -> Float64[Tensor, "b"]:
    """Distance of the feature maps of each pair, 0 for identical pictures.

    At every stage both maps are scaled to unit length over channels; squared differences are summed over
    channels and averaged over positions, then over stages. This is the form of LPIPS (Zhang et al. 2018,
    section 3) without its learned channel weights, so its values are not LPIPS values.
    """
    distances = [
        (a - b).square().sum(dim=1).mean(dim=(1, 2))
        for a, b in zip(originals.unit_stages, reconstructions.unit_stages, strict=True)
    ]
    return torch.stack(distances).mean(dim=0).double()


PERCEPTUAL = PictureMetric(
    name="perceptual",
    meaning=Meaning("Perceptual distance", "distance", -1),
    measure=lambda pairs: perceptual_per_image(pairs.original_features, pairs.features),
    learned=True,
    applies=lambda pairs: bool(pairs.features.stages),
)
PSNR = PictureMetric(
    name="psnr",
    meaning=Meaning("PSNR", "dB", 1),
    measure=lambda pairs: psnr_per_image(pairs.originals, pairs.reconstructions),
)
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


def measure_pairs(pairs: Pairs) -> dict[str, Float[Tensor, "b"]]:
    """Every metric of ``PICTURE_METRICS`` that applies: name of the column -> one value per pair."""
    return {
        metric.column(pairs.network): metric.measure(pairs)
        for metric in PICTURE_METRICS
        if metric.applies(pairs)
    }


def set_distances(
    originals: SplitFeatures, reconstructions: SplitFeatures, *, network: FeatureNetwork
) -> dict[str, float]:
    """Distances between the two sets, for ``MIN_FRECHET`` pictures or more.

    ``fd_NETWORK`` (``fid`` with the published Inception) compares all reconstructions with all originals.
    ``..._unpaired`` compares one half of the reconstructions with the other half of the originals, and is
    to be read beside ``..._floor``, one half of the originals against the other: the same number of
    pictures, none of them on both sides.

    With fewer pictures than feature channels there are also the same three along the originals' first
    ``PCA_COMPONENTS`` principal directions (``fd_NETWORK_pca32...``, from ``MIN_PCA`` pictures), and
    ``kd_NETWORK`` with its standard error, the kernel distance of the unpaired halves: its floor is 0.
    """
    count, name = originals.count, metric_name("fd", network)
    if count < MIN_FRECHET:
        return {}
    row = {
        name: frechet_distance(originals.whole, reconstructions.whole),
        f"{name}_unpaired": frechet_distance(originals.odd, reconstructions.even),
        f"{name}_floor": originals.floor,
    }
    if MIN_PCA <= count < network.dim:
        name = f"{name}_pca{PCA_COMPONENTS}"
        distance = partial(frechet_distance_pca, components=PCA_COMPONENTS)
        row[name] = distance(originals.whole, reconstructions.whole)
        row[f"{name}_unpaired"] = distance(originals.odd, reconstructions.even)
        row[f"{name}_floor"] = distance(originals.odd, originals.even)
    if count < network.dim:
        name, generator = metric_name("kd", network), torch.Generator().manual_seed(KERNEL_SEED)
        halves = (originals.vectors[1::2], reconstructions.vectors[0::2])
        kernel = kernel_distance(*halves, generator=generator)
        row |= {name: kernel.value, f"{name}_standard_error": kernel.standard_error}
    return row
