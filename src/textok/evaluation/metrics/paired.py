"""Metrics of reconstructions against their originals: PSNR, SSIM, perceptual distance, Fréchet distance.

All of them read uint8 pictures, after this project's rule round(clamp((x + 1) * 127.5, 0, 255)): what a
viewer sees is what is measured. Per-image values are averaged over pictures.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Float64, Int, UInt8
from torch import Tensor

from textok.evaluation.metrics.frechet import SplitStatistics, frechet_distance
from textok.evaluation.networks import FeatureNetwork, ImageFeatures

MAX_PSNR = 100.0
"""PSNR of two identical pictures, in dB, so that means stay finite."""

MIN_FRECHET = 16
"""Fréchet distances are not reported for fewer pictures than this."""

SSIM_WINDOW = 11
"""Side of SSIM's Gaussian window in pixels."""


def psnr_per_image(
    originals: UInt8[Tensor, "b 3 h w"], reconstructions: UInt8[Tensor, "b 3 h w"]
) -> Float64[Tensor, "b"]:
    """Peak signal-to-noise ratio in dB of each picture, data range 255, at most ``MAX_PSNR``."""
    squared_error = (originals.double() - reconstructions.double()).square().mean(dim=(1, 2, 3))
    return (10 * torch.log10(255**2 / squared_error)).clamp(max=MAX_PSNR)


def ssim_per_image(
    originals: UInt8[Tensor, "b 3 h w"], reconstructions: UInt8[Tensor, "b 3 h w"]
) -> Float64[Tensor, "b"]:
    """Structural similarity of each picture (Wang et al. 2004), over windows that lie inside the picture.

    Gaussian window of 11 px, sigma 1.5, population covariance, data range 255, mean over channels: the values
    of scikit-image with these settings. torchmetrics also counts windows over a mirrored border: its values
    differ, and it is some ten times slower on a CPU.

    Raises:
        ValueError: when a side is shorter than the window.
    """
    if min(originals.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM: got pictures of {tuple(originals.shape[-2:])}; expected {SSIM_WINDOW} px or more"
        )
    x, y = originals.double(), reconstructions.double()
    mean_x, mean_y, xx, yy, xy = _window_means(torch.stack((x, y, x * x, y * y, x * y)))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * (xy - mean_x * mean_y) + c2) / (xx - mean_x**2 + yy - mean_y**2 + c2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def _window_means(maps: Float64[Tensor, "*batch h w"]) -> Float64[Tensor, "*batch h2 w2"]:
    down = _window_matrix(maps.shape[-2], device=maps.device)
    across = _window_matrix(maps.shape[-1], device=maps.device)
    return down @ maps @ across.T


def _window_matrix(size: int, *, device: torch.device) -> Float64[Tensor, "positions size"]:
    """Row i holds the Gaussian window that starts at pixel i: filtering is then a matrix product."""
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64, device=device) - SSIM_WINDOW // 2
    window = torch.exp(-0.5 * (offsets / 1.5) ** 2)
    matrix = torch.zeros(size - SSIM_WINDOW + 1, size, dtype=torch.float64, device=device)
    for i, row in enumerate(matrix):
        row[i : i + SSIM_WINDOW] = window / window.sum()
    return matrix


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


@dataclass(kw_only=True)
class PairedMetrics:
    """Running metrics of reconstructions against their originals; add two of them to merge chunks or ranks.

    Attributes:
        network: the feature network that learned metrics are computed with and named after.
        indices: positions in the set of the pictures seen so far.
        per_image: metric name -> one value a picture, in the order of ``indices``.
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
        values = {
            "psnr": psnr_per_image(originals, reconstructions),
            "ssim": ssim_per_image(originals, reconstructions),
            f"perceptual_{self.network.name}": perceptual_per_image(original_features, features),
        }
        self.indices.extend(indices.tolist())
        for name, column in values.items():
            self.per_image.setdefault(name, []).extend(column.tolist())
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
        """Means over pictures, and Fréchet distances to the originals with ``MIN_FRECHET`` pictures or more.

        ``fd_NETWORK`` compares all reconstructions with all originals. ``fd_NETWORK_unpaired`` compares
        one half of the reconstructions with the other half of the originals, and is to be read beside
        ``fd_NETWORK_floor``, one half of the originals against the other: the same number of pictures, none
        of them on both sides.
        """
        row = {name: sum(column) / len(column) for name, column in self.per_image.items()}
        if len(self.indices) >= MIN_FRECHET:
            name = f"fd_{self.network.name}"
            row[name] = frechet_distance(originals.whole, self.statistics.whole)
            row[f"{name}_unpaired"] = frechet_distance(originals.odd, self.statistics.even)
            row[f"{name}_floor"] = originals.floor
        return row


def evaluate(
    originals: UInt8[Tensor, "n 3 h w"],
    reconstructions: UInt8[Tensor, "n 3 h w"],
    *,
    network: FeatureNetwork,
    batch_size: int = 64,
) -> dict[str, float]:
    """All metrics of a set of pictures against their originals, both uint8 and in the same order."""
    metrics, statistics = PairedMetrics.empty(network), SplitStatistics.empty(network.dim)
    for indices in torch.arange(len(originals)).split(batch_size):
        features = network(originals[indices])
        statistics = statistics + SplitStatistics.of(features.pooled, indices)
        metrics.update(
            originals[indices], reconstructions[indices], indices=indices, original_features=features
        )
    return metrics.compute(statistics)
