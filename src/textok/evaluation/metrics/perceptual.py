"""Perceptual distance: how differently a feature network sees a reconstruction and its original."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from textok.evaluation.metrics.picture_metric import Meaning, PictureMetric
from textok.evaluation.networks import ImageFeatures


def perceptual_per_image(originals: ImageFeatures, reconstructions: ImageFeatures) -> Float64[Tensor, "b"]:
    """Distance of the feature maps of each pair, 0 for identical pictures.

    At every stage both maps are scaled to unit length over channels; squared differences are summed over
    channels and averaged over positions, then over stages. This is the form of LPIPS (Zhang et al. 2018,
    section 3) without its learned channel weights, so its values are not LPIPS values.
    """
    distances = [
        (_unit_channels(a) - _unit_channels(b)).square().sum(dim=1).mean(dim=(1, 2))
        for a, b in zip(originals.stages, reconstructions.stages, strict=True)
    ]
    return torch.stack(distances).mean(dim=0).double()


def _unit_channels(features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    return torch.nn.functional.normalize(features, dim=1, eps=1e-6)


PERCEPTUAL = PictureMetric(
    name="perceptual",
    meaning=Meaning("Perceptual distance", "distance", -1),
    measure=lambda pairs: perceptual_per_image(pairs.original_features, pairs.features),
    learned=True,
    applies=lambda pairs: bool(pairs.features.stages),
)
