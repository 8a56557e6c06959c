"""Structural similarity of pictures, at one scale (SSIM) and at five (MS-SSIM)."""

from functools import cache

import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d

from textok.evaluation.metrics import Meaning, PictureMetric

SSIM_WINDOW = 11
"""Side of the Gaussian window in pixels."""

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of MS-SSIM's scales, finest first (Wang et al. 2003, section 3.2)."""

MS_SSIM_SIDE = SSIM_WINDOW * 2 ** (len(SCALE_WEIGHTS) - 1)
"""The shortest side that still holds a window at the coarsest scale: 176 px."""


def ssim_per_image(
    originals: UInt8[Tensor, "b 3 h w"], reconstructions: UInt8[Tensor, "b 3 h w"]
) -> Float64[Tensor, "b"]:
    """Structural similarity of each picture (Wang et al. 2004), over windows that lie inside the picture.

    Gaussian window of 11 px, sigma 1.5, population covariance, data range 255, mean over channels: the values
    of scikit-image with these settings. torchmetrics also counts windows over a mirrored border: its values
    differ.

    Raises:
        ValueError: when a side is shorter than the window.
    """
    _require_side("SSIM", originals, SSIM_WINDOW)
    luminance, structure = _comparisons(*_sum_and_difference(originals, reconstructions))
    return (luminance * structure).double().mean(dim=(1, 2, 3))


def ms_ssim_per_image(
    originals: UInt8[Tensor, "b 3 h w"], reconstructions: UInt8[Tensor, "b 3 h w"]
) -> Float64[Tensor, "b"]:
    """Multi-scale structural similarity of each picture (Wang et al. 2003), five scales, each half the last.

    Contrast and structure count at every scale, luminance at the coarsest only; pictures are halved by means
    of 2x2 pixels, a negative comparison counts as 0. Windows lie inside the picture, as in ``ssim_per_image``.

    Raises:
        ValueError: when a side is shorter than ``MS_SSIM_SIDE``.
    """
    _require_side("MS-SSIM", originals, MS_SSIM_SIDE)
    total, difference = _sum_and_difference(originals, reconstructions)
    product = torch.ones(len(total), dtype=torch.float64, device=total.device)
    for scale, weight in enumerate(SCALE_WEIGHTS, start=1):
        luminance, structure = _comparisons(total, difference)
        compared = luminance * structure if scale == len(SCALE_WEIGHTS) else structure
        product = product * compared.double().mean(dim=(1, 2, 3)).clamp(min=0) ** weight
        total, difference = avg_pool2d(total, 2), avg_pool2d(difference, 2)
    return product


def _require_side(metric: str, images: Tensor, side: int) -> None:
    if min(images.shape[-2:]) < side:
        raise ValueError(f"{metric}: got pictures of {tuple(images.shape[-2:])}, expected {side} px or more")


def _sum_and_difference(
    x: UInt8[Tensor, "b 3 h w"], y: UInt8[Tensor, "b 3 h w"]
) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 3 h w"]]:
    """The pair x + y - 256 and x - y, whose squares float32 holds; on a GPU, where products may be TF32, in float64."""
    exact = torch.float32 if x.device.type == "cpu" else torch.float64
    return x.to(exact) + y.to(exact) - 256, x.to(exact) - y.to(exact)


def _comparisons(
    total: Float[Tensor, "b 3 h w"], difference: Float[Tensor, "b 3 h w"]
) -> tuple[Float[Tensor, "b 3 h2 w2"], Float[Tensor, "b 3 h2 w2"]]:
    """Luminance, and contrast with structure, of every window that lies inside the picture.

    Both are written as 1 minus what differs, so that little of float32 is lost where pictures are alike.
    """
    maps = torch.stack((total, difference, total * total, difference * difference))
    mean, shift, squares, squared_differences = _window_means(maps)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    shift = shift * shift
    luminance = 1 - 2 * shift / ((mean + 256) ** 2 + shift + 2 * c1)
    varied = squared_differences - shift
    structure = 1 - 2 * varied / (squares - mean * mean + varied + 2 * c2)
    return luminance, structure


def _window_means(maps: Float[Tensor, "*batch h w"]) -> Float[Tensor, "*batch h2 w2"]:
    down, across = (_window_matrix(size, device=str(maps.device)).to(maps.dtype) for size in maps.shape[-2:])
    return down @ maps @ across.T


@cache
def _window_matrix(size: int, *, device: str) -> Float64[Tensor, "positions size"]:
    """Row i holds the Gaussian window that starts at pixel i: filtering is then a matrix product."""
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64, device=device) - SSIM_WINDOW // 2
    window = torch.exp(-0.5 * (offsets / 1.5) ** 2)
    matrix = torch.zeros(size - SSIM_WINDOW + 1, size, dtype=torch.float64, device=device)
    for i, row in enumerate(matrix):
        row[i : i + SSIM_WINDOW] = window / window.sum()
    return matrix


SSIM = PictureMetric(
    name="ssim",
    meaning=Meaning("SSIM", "similarity", 1),
    measure=lambda pairs: ssim_per_image(pairs.originals, pairs.reconstructions),
)
MS_SSIM = PictureMetric(
    name="ms_ssim",
    meaning=Meaning("Multi-scale SSIM", "similarity", 1),
    measure=lambda pairs: ms_ssim_per_image(pairs.originals, pairs.reconstructions),
    applies=lambda pairs: min(pairs.originals.shape[-2:]) >= MS_SSIM_SIDE,
)
