"""Metrics of reconstructions against their originals, picture by picture and as sets.

All of them read uint8 pictures: what a viewer sees is what is measured. Values of single pictures are averaged.
"""

from functools import cache, partial

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import avg_pool2d

from textok.evaluation.metrics import Pairs, sets
from textok.evaluation.networks import FeatureNetwork, ImageFeatures, Pictures, metric_name
from textok.objectives.quality import psnr_per_image

SSIM_WINDOW = 11
"""Side of the Gaussian window in pixels."""

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of MS-SSIM's scales, finest first (Wang et al. 2003, section 3.2)."""

MS_SSIM_SIDE = SSIM_WINDOW * 2 ** (len(SCALE_WEIGHTS) - 1)
"""The shortest side that still holds a window at the coarsest scale: 176 px."""

MIN_FRECHET = 16
"""Fréchet distances are not reported for fewer pictures than this."""

PCA_COMPONENTS = 32
"""Directions of the Fréchet distance that is added where pictures are fewer than feature channels."""

MIN_PCA = 4 * PCA_COMPONENTS
"""... and how many pictures it takes."""

KERNEL_SEED = 0
"""Seed of the subsets of the kernel distance: the same in every cell of a table."""


def measure_pairs(pairs: Pairs) -> dict[str, Float[Tensor, "b"]]:
    """Every metric of single pictures that these pictures allow: name of the column -> one value per pair."""
    sides = pairs.originals, pairs.reconstructions
    columns = {"psnr": psnr_per_image(*sides), "ssim": ssim_per_image(*sides)}
    if min(pairs.originals.shape[-2:]) >= MS_SSIM_SIDE:
        columns["ms_ssim"] = ms_ssim_per_image(*sides)
    if pairs.features.stages:
        distances = perceptual_per_image(pairs.original_features, pairs.features)
        columns[f"perceptual_{pairs.network.name}"] = distances
    return columns


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


def ssim_per_image(originals: Pictures, reconstructions: Pictures) -> Float64[Tensor, "b"]:
    """Structural similarity of each picture (Wang et al. 2004), over windows that lie inside the picture.

    Gaussian window of 11 px, sigma 1.5, population covariance, data range 255, mean over channels: the values
    of scikit-image with these settings, not those of torchmetrics, which also counts windows over a mirrored border.
    ``ValueError`` when a side is shorter than the window.
    """
    _require_side("SSIM", originals, SSIM_WINDOW)
    luminance, structure = _comparisons(*_sum_and_difference(originals, reconstructions))
    return (luminance * structure).double().mean(dim=(1, 2, 3))


def ms_ssim_per_image(originals: Pictures, reconstructions: Pictures) -> Float64[Tensor, "b"]:
    """Multi-scale structural similarity of each picture (Wang et al. 2003), five scales, each half the last.

    Contrast and structure count at every scale, luminance at the coarsest only; pictures are halved by means
    of 2x2 pixels, a negative comparison counts as 0. Windows lie inside the picture, as in ``ssim_per_image``.
    ``ValueError`` when a side is shorter than ``MS_SSIM_SIDE``.
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


def _sum_and_difference(x: Pictures, y: Pictures) -> tuple[Float[Tensor, "b 3 h w"], ...]:
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
    down, across = (_window_matrix(size, device=str(maps.device)).to(maps.dtype) for size in maps.shape[-2:])
    mean, shift, squares, squared_differences = down @ maps @ across.T
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    shift = shift * shift
    luminance = 1 - 2 * shift / ((mean + 256) ** 2 + shift + 2 * c1)
    varied = squared_differences - shift
    structure = 1 - 2 * varied / (squares - mean * mean + varied + 2 * c2)
    return luminance, structure


@cache
def _window_matrix(size: int, *, device: str) -> Float64[Tensor, "positions size"]:
    """Row i holds the Gaussian window that starts at pixel i: filtering is then a matrix product."""
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64, device=device) - SSIM_WINDOW // 2
    window = torch.exp(-0.5 * (offsets / 1.5) ** 2)
    matrix = torch.zeros(size - SSIM_WINDOW + 1, size, dtype=torch.float64, device=device)
    for i, row in enumerate(matrix):
        row[i : i + SSIM_WINDOW] = window / window.sum()
    return matrix


def set_distances(
    originals: sets.SplitFeatures, reconstructions: sets.SplitFeatures, *, network: FeatureNetwork
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
        name: sets.frechet_distance(originals.whole, reconstructions.whole),
        f"{name}_unpaired": sets.frechet_distance(originals.odd, reconstructions.even),
        f"{name}_floor": originals.floor,
    }
    if MIN_PCA <= count < network.dim:
        name = f"{name}_pca{PCA_COMPONENTS}"
        distance = partial(sets.frechet_distance_pca, components=PCA_COMPONENTS)
        row[name] = distance(originals.whole, reconstructions.whole)
        row[f"{name}_unpaired"] = distance(originals.odd, reconstructions.even)
        row[f"{name}_floor"] = distance(originals.odd, originals.even)
    if count < network.dim:
        name, generator = metric_name("kd", network), torch.Generator().manual_seed(KERNEL_SEED)
        halves = (originals.vectors[1::2], reconstructions.vectors[0::2])
        kernel = sets.kernel_distance(*halves, generator=generator)
        row |= {name: kernel.value, f"{name}_standard_error": kernel.standard_error}
    return row
