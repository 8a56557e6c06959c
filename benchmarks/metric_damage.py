"""Known damage under every paired metric, and the metrics against independent computations.

    python benchmarks/metric_damage.py

blurs, noises and compresses the pictures of icons-128's test-drawing, scores each copy against the originals,
and writes benchmarks/results/metric_damage.json. Checks: every metric gets worse with every step of a damage;
the largest relative errors against scipy, scikit-image and torchmetrics. Needs the dev extra; minutes.
"""

import io
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.linalg import sqrtm, svdvals
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torchmetrics.image.kid import KernelInceptionDistance

from textok.data import DataConfig, EvalLoader
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.metrics.frechet import FeatureStatistics, SplitStatistics, frechet_distance
from textok.evaluation.metrics.kernel_distance import kernel_distance
from textok.evaluation.metrics.paired import KERNEL_SEED, PairedMetrics
from textok.evaluation.metrics.structural_similarity import ssim_per_image
from textok.evaluation.networks import EffNetLite2, ImageFeatures
from textok.pipeline.picture_quality import psnr_per_image
from textok.training.run_folder import environment
from textok.writing import write_json

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "metric_damage.json"
SEED = 0
DAMAGES = {"blur": (1, 2, 4), "noise": (10, 30), "jpeg": (50, 10)}  # mild to strong
HIGHER_IS_BETTER = ("psnr", "ssim")
NOT_SCORES = ("_floor", "_standard_error")
REFERENCE_STEP = 7  # scikit-image reads every 7th picture

Row = dict[str, str | int | float]


def main() -> None:
    """Damage, score, compare, write, print."""
    pictures = test_drawing()
    network = EffNetLite2()
    originals = seen(network, pictures.images)
    rows: list[Row] = []
    errors: dict[str, float] = {}
    for name, strength in ((name, strength) for name, steps in DAMAGES.items() for strength in steps):
        damaged = damage(pictures.images, name, strength)
        features = seen(network, damaged)
        row: Row = {"split": pictures.split, "damage": name, "strength": strength, "count": len(pictures)}
        rows.append(row | score(network, pictures.images, damaged, originals, features))
        for metric, error in relative_errors(pictures.images, damaged, originals, features).items():
            errors[metric] = max(error, errors.get(metric, 0.0))
        print(*(f"{k} {v:.4g}" if isinstance(v, float) else v for k, v in rows[-1].items()))
    errors["frechet, scipy sqrtm"] = sqrtm_error(originals.pooled, features.pooled)
    checks = {"not_monotone": not_monotone(rows), "largest_relative_error": errors}
    write_json(
        OUT, {"settings": settings(network.name), "made_by": environment(), "checks": checks, "rows": rows}
    )
    print(checks)


def settings(network: str) -> dict[str, object]:
    """What the numbers depend on."""
    return {
        "data": "icons-128",
        "crop": "none: the pictures are 128 px",
        "feature_network": network,
        "seed": SEED,
        "kernel distance subsets": f"seed {KERNEL_SEED}",
        "blur": "Gaussian, strength is sigma in px, mirrored at the border",
        "noise": "normal, strength is the standard deviation in levels of 255, the same draw at every strength",
        "jpeg": "Pillow, strength is quality, its default chroma subsampling",
        "uint8": "round(clamp(x, 0, 255))",
        "reference versions": {name: version(name) for name in ("scipy", "scikit-image", "torchmetrics")},
        "references": f"PSNR and SSIM on every {REFERENCE_STEP}th picture, the rest on all; sqrtm on the last row",
    }


def test_drawing() -> CaptionedPictures:
    """The pictures, at their own size."""
    config = DataConfig(source=str(ROOT / "datasets" / "icons-128"), split="test-drawing", size=(128, 128))
    return CaptionedPictures.collect("test-drawing", EvalLoader(config, batch_size=64))


def damage(images: Tensor, name: str, strength: int) -> Tensor:
    """A damaged copy of uint8 pictures (n, 3, h, w)."""
    if name == "jpeg":
        return torch.stack([jpeg(image, quality=strength) for image in images])
    if name == "blur":
        changed = torch.from_numpy(
            gaussian_filter(images.numpy().astype(np.float32), (0, 0, strength, strength))
        )
    else:
        changed = images + strength * torch.randn(images.shape, generator=torch.Generator().manual_seed(SEED))
    return changed.clamp(0, 255).round().to(torch.uint8)


def jpeg(image: Tensor, *, quality: int) -> Tensor:
    """One picture (3, h, w) through a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)


def seen(network: EffNetLite2, images: Tensor) -> ImageFeatures:
    """Features of all pictures."""
    parts = [network(batch) for batch in images.split(50)]
    return ImageFeatures(
        pooled=torch.cat([part.pooled for part in parts]),
        stages=tuple(torch.cat(maps) for maps in zip(*(part.stages for part in parts), strict=True)),
    )


def score(
    network: EffNetLite2, images: Tensor, damaged: Tensor, originals: ImageFeatures, features: ImageFeatures
) -> dict[str, float]:
    """All paired metrics of the damaged copy."""
    metrics, indices = PairedMetrics.empty(network), torch.arange(len(images))
    metrics.update(images, damaged, indices=indices, original_features=originals, features=features)
    return metrics.compute(SplitStatistics.of(originals.pooled, indices))


def relative_errors(
    images: Tensor, damaged: Tensor, originals: ImageFeatures, features: ImageFeatures
) -> dict[str, float]:
    """Ours against independent computations; for per-image metrics the worst picture."""
    a, b = images[::REFERENCE_STEP], damaged[::REFERENCE_STEP]
    pairs = [(x.permute(1, 2, 0).numpy(), y.permute(1, 2, 0).numpy()) for x, y in zip(a, b, strict=True)]
    psnr = [peak_signal_noise_ratio(x, y) for x, y in pairs]
    ssim = [reference_ssim(x, y) for x, y in pairs]
    ours = frechet_distance(FeatureStatistics.of(originals.pooled), FeatureStatistics.of(features.pooled))
    return {
        "psnr, scikit-image": worst(psnr_per_image(a, b).tolist(), psnr),
        "ssim, scikit-image": worst(ssim_per_image(a, b).tolist(), ssim),
        "frechet, scipy singular values": worst(
            [ours], [reference_frechet(originals.pooled, features.pooled)]
        ),
        "kernel distance, torchmetrics": kernel_error(originals.pooled, features.pooled),
    }


def worst(ours: list[float], reference: list[float]) -> float:
    """Largest relative error."""
    return float(np.max(np.abs(np.divide(ours, reference) - 1)))


def reference_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """scikit-image's SSIM with the settings of Wang et al. 2004."""
    published = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(x, y, channel_axis=2, data_range=255, **published))


def reference_frechet(a: Tensor, b: Tensor) -> float:
    """From the vectors alone: with X, Y the centred ones over sqrt(n - 1), tr (A B)^(1/2) is the sum of the
    singular values of X Y^T. No covariance matrix and no matrix root is formed.
    """
    means, roots = [], []
    for vectors in (a.double().numpy(), b.double().numpy()):
        means.append(vectors.mean(axis=0))
        roots.append((vectors - means[-1]) / np.sqrt(len(vectors) - 1))
    spread = sum(np.square(root).sum() for root in roots) - 2 * np.sum(svdvals(roots[0] @ roots[1].T))
    return float(np.square(means[0] - means[1]).sum() + spread)


def sqrtm_error(a: Tensor, b: Tensor) -> float:
    """Against the textbook formula with scipy's matrix square root, as published FID code computes it."""
    statistics = [FeatureStatistics.of(vectors) for vectors in (a, b)]
    means = [vectors.double().numpy().mean(axis=0) for vectors in (a, b)]
    covariances = [np.cov(vectors.double().numpy(), rowvar=False) for vectors in (a, b)]
    root = np.real(sqrtm(covariances[0] @ covariances[1]))
    reference = np.square(means[0] - means[1]).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    return worst([frechet_distance(*statistics)], [float(reference)])


def kernel_error(a: Tensor, b: Tensor) -> float:
    """Against torchmetrics on the same subsets: it draws them from torch's global generator."""
    size = len(a) // 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it keeps all features
        reference = KernelInceptionDistance(feature=torch.nn.Identity(), subset_size=size)
    reference.update(a.double(), real=True)
    reference.update(b.double(), real=False)
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        expected, _ = reference.compute()
    ours = kernel_distance(a, b, generator=torch.Generator().manual_seed(SEED), subset_size=size)
    return worst([ours.value], [expected.item()])


def not_monotone(rows: list[Row]) -> list[str]:
    """Steps of a damage at which a metric does not get worse."""
    return [
        f"{metric}: {milder['damage']} {milder['strength']} to {stronger['strength']}"
        for milder, stronger in steps(rows)
        for metric, value in milder.items()
        if isinstance(value, float) and not metric.endswith(NOT_SCORES)
        if not is_worse(metric, float(stronger[metric]), value)
    ]


def steps(rows: list[Row]) -> Iterator[tuple[Row, Row]]:
    """Neighbouring strengths of each damage."""
    for milder, stronger in pairwise(rows):
        if milder["damage"] == stronger["damage"]:
            yield milder, stronger


def is_worse(metric: str, value: float, than: float) -> bool:
    """Whether one value of a metric is worse than another."""
    return value < than if metric in HIGHER_IS_BETTER else value > than


if __name__ == "__main__":
    main()
