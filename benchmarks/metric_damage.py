"""Known damage under every metric of reconstructions, and the metrics against independent computations.

    python benchmarks/metric_damage.py [--limit 256]

blurs, noises and compresses the drawings of icons-128's test-drawing and the photographs of photos-256, scores each
copy against the originals, and writes benchmarks/results/metric_damage.json. Checks: at which steps of a damage a
metric does not get worse; the largest relative errors against scipy, scikit-image and torchmetrics. Needs the dev
extra; minutes. With a limit so many pictures of each set, spread over it.
"""

import argparse
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
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
from textok.evaluation.alignment import CaptionJudge, Semantics
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.metrics import Pairs, means
from textok.evaluation.metrics.paired import KERNEL_SEED, measure_pairs, set_distances, ssim_per_image
from textok.evaluation.metrics.sets import FeatureStatistics, SplitFeatures, frechet_distance, kernel_distance
from textok.evaluation.networks import EffNetLite2, ImageFeatures
from textok.evaluation.results import meaning
from textok.objectives.quality import psnr_per_image
from textok.training.run_folder import environment
from textok.writing import write_json

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "metric_damage.json"
SEED = 0
DAMAGES = {"blur": (1, 2, 4), "noise": (10, 30), "jpeg": (50, 10)}  # mild to strong
REFERENCE_STEP = 7  # scikit-image reads every 7th picture
SETS = (("icons-128", "test-drawing"), ("photos-256", None))
SIDE = 128
SQRTM_ON = ("test-drawing", "jpeg", 10)  # a minute each: one row is enough

Row = dict[str, str | int | float]


@dataclass(frozen=True, kw_only=True)
class PictureSet:
    """Pictures, and what the network and the judges of captions make of them."""

    pictures: CaptionedPictures
    network: EffNetLite2
    judge: CaptionJudge
    features: ImageFeatures

    @classmethod
    def read(cls, source: str, split: str | None, limit: int | None, semantics: Semantics) -> "PictureSet":
        """All pictures of a set, or so many of them."""
        config = DataConfig(source=str(ROOT / "datasets" / source), split=split, size=(SIDE, SIDE))
        pictures = CaptionedPictures.collect(split or source, EvalLoader(config, batch_size=64))
        pictures = pictures if limit is None else pictures.spread(limit)
        network = semantics.network
        assert isinstance(network, EffNetLite2)
        return cls(
            pictures=pictures,
            network=network,
            judge=semantics.judge(pictures.captions),
            features=seen(network, pictures.images),
        )

    def semantic(self, features: ImageFeatures) -> dict[str, Tensor]:
        """Values of pictures with these features, in the place of the originals."""
        return self.judge.measure(torch.arange(len(self.pictures)), features, self.features)

    def score(self, damaged: Tensor, features: ImageFeatures) -> dict[str, float]:
        """All metrics of the damaged copy."""
        pairs = Pairs(
            originals=self.pictures.images,
            reconstructions=damaged,
            original_features=self.features,
            features=features,
            network=self.network,
        )
        sets = [SplitFeatures.of(seen.pooled) for seen in (self.features, features)]
        ceiling = {f"{name}_original": value for name, value in means(self.semantic(self.features)).items()}
        row = means(measure_pairs(pairs) | self.semantic(features))
        return row | set_distances(*sets, network=self.network) | ceiling


def main() -> None:
    """Damage, score, compare, write, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=int, help="pictures of each set")
    limit = parser.parse_args().limit
    semantics = Semantics.from_pretrained()
    rows: list[Row] = []
    errors: dict[str, float] = {}
    for source, split in SETS:
        found = PictureSet.read(source, split, limit, semantics)
        for name, strength in ((name, strength) for name, steps in DAMAGES.items() for strength in steps):
            rows.append(scored(found, name, strength, errors))
            print(*(f"{k} {v:.4g}" if isinstance(v, float) else v for k, v in rows[-1].items()), flush=True)
    checks = {"not_monotone": not_monotone(rows), "largest_relative_error": errors}
    made = {"settings": settings(semantics, limit), "made_by": environment(), "checks": checks, "rows": rows}
    write_json(OUT, made)
    print(checks)


def scored(found: PictureSet, name: str, strength: int, errors: dict[str, float]) -> Row:
    """The row of one damage; errors against other computations go to ``errors`` where they are larger."""
    pictures = found.pictures
    damaged = damage(pictures.images, name, strength)
    features = seen(found.network, damaged)
    for metric, error in relative_errors(pictures.images, damaged, found.features, features).items():
        errors[metric] = max(error, errors.get(metric, 0.0))
    if (pictures.split, name, strength) == SQRTM_ON:
        errors["frechet, scipy sqrtm"] = sqrtm_error(found.features.pooled, features.pooled)
    row: Row = {"split": pictures.split, "damage": name, "strength": strength, "count": len(pictures)}
    return row | found.score(damaged, features)


def settings(semantics: Semantics, limit: int | None) -> dict[str, object]:
    """What the numbers depend on."""
    return {
        "data": {split or source: source for source, split in SETS},
        "limit": limit,
        "size": f"{SIDE} px; photographs are resized from 256 px by Lanczos",
        "feature_network": semantics.network.name,
        "two_tower": semantics.two_tower.model_id,
        "seed": SEED,
        "kernel distance subsets": f"seed {KERNEL_SEED}",
        "blur": "Gaussian, strength is sigma in px, mirrored at the border",
        "noise": "normal, strength is the standard deviation in levels of 255, the same draw at every strength",
        "jpeg": "Pillow, strength is quality, its default chroma subsampling",
        "uint8": "round(clamp(x, 0, 255))",
        "reference versions": {name: version(name) for name in ("scipy", "scikit-image", "torchmetrics")},
        "references": f"PSNR and SSIM on every {REFERENCE_STEP}th picture, the rest on all; sqrtm on one row",
    }


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
        logits=torch.cat([part.logits for part in parts if part.logits is not None]),
        stages=tuple(torch.cat(maps) for maps in zip(*(part.stages for part in parts), strict=True)),
    )


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
    """Steps of a damage, from the originals on where they have the score, at which it does not get worse."""
    return [
        f"{stronger['split']}: {metric}: {step} to {stronger['damage']} {stronger['strength']}"
        for step, milder, stronger in steps(rows)
        for metric, value in milder.items()
        if isinstance(value, float) and meaning(metric).better
        if (float(stronger[metric]) - value) * meaning(metric).better >= 0
    ]


def steps(rows: list[Row]) -> Iterator[tuple[str, Row, Row]]:
    """What a damage starts from, the scores there, and the row of the next strength."""
    start: Row = {}
    for milder, stronger in pairwise([start, *rows]):
        same = all(milder.get(name) == stronger[name] for name in ("split", "damage"))
        yield (f"{milder['strength']}", milder, stronger) if same else ("none", undamaged(stronger), stronger)


def undamaged(row: Row) -> Row:
    """The scores of the originals themselves, of those metrics that they have."""
    ending = "_original"
    return {name.removesuffix(ending): value for name, value in row.items() if name.endswith(ending)}


if __name__ == "__main__":
    main()
