"""How near a reconstruction is to its picture: PSNR, and the measures that soft budgets are chosen by."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from textok.objectives.perceptual import EfficientNetPerceptualLoss
from textok.pixels import to_unit

MeasureName = Literal["psnr", "perceptual"]
Pixels = UInt8[Tensor, "b 3 h w"]
MAX_PSNR = 100.0
"""PSNR of two identical pictures, in dB, so that means stay finite."""


@dataclass(frozen=True)
class Measure:
    """A quality of single pictures; ``compare`` takes originals and reconstructions."""

    name: str
    lower_is_better: bool
    compare: Callable[[Pixels, Pixels], Float[Tensor, "b"]]


def find_measure(name: MeasureName) -> Measure:
    """The measure called "psnr", in dB, or "perceptual", of EfficientNet-lite0; ``ValueError`` for another name."""
    measures = {
        "psnr": Measure("psnr", lower_is_better=False, compare=psnr_per_image),
        "perceptual": Measure("perceptual", lower_is_better=True, compare=perceptual_distance),
    }
    if name not in measures:
        raise ValueError(f"measure: got {name!r}, expected {' or '.join(measures)}")
    return measures[name]


def psnr_per_image(originals: Pixels, reconstructions: Pixels) -> Float64[Tensor, "b"]:
    """Peak signal-to-noise ratio in dB of each picture, data range 255, at most ``MAX_PSNR``."""
    squared_error = (originals.double() - reconstructions.double()).square().mean(dim=(1, 2, 3))
    return (10 * torch.log10(255**2 / squared_error)).clamp(max=MAX_PSNR)


@torch.no_grad()
def perceptual_distance(originals: Pixels, reconstructions: Pixels) -> Float[Tensor, "b"]:
    """Distance of EfficientNet-lite0's features of each picture and its reconstruction, 0 to 4."""
    network = _network(str(originals.device))
    return network.distances(to_unit(reconstructions), to_unit(originals))


@cache
def _network(device: str) -> EfficientNetPerceptualLoss:
    return EfficientNetPerceptualLoss().to(device).eval()
