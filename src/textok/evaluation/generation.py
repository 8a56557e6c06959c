"""How good generated pictures are: distances to real ones, quality and coverage, captions, and copying."""

from dataclasses import dataclass

import torch

from textok.evaluation.features import FeatureReader, PictureFeatures
from textok.evaluation.metrics.frechet import FeatureStatistics, frechet_distance, frechet_distance_pca
from textok.evaluation.metrics.inception_score import inception_score
from textok.evaluation.metrics.kernel_distance import kernel_distance
from textok.evaluation.metrics.nearest_neighbours import copying_row, nearest_neighbours
from textok.evaluation.metrics.paired import MIN_FRECHET, MIN_PCA, PCA_COMPONENTS
from textok.evaluation.metrics.precision_recall import precision_recall
from textok.evaluation.metrics.semantics import Semantics
from textok.evaluation.networks import (
    FeatureNetwork,
    distance_name,
    inception_score_name,
    kernel_distance_name,
)
from textok.evaluation.picture_values import means
from textok.evaluation.results import Row

NEIGHBOURS = 3
"""Neighbours that reach out the regions of precision and recall, as published."""

INCEPTION_SPLITS = 10
"""Runs of pictures that the Inception score is averaged over, as published."""


@dataclass(frozen=True, kw_only=True)
class GenerationScores:
    """Scores of a set of generated pictures.

    Attributes:
        rows: one row per set.
        per_image: one row per picture: its caption scores and nearest training picture.
    """

    rows: list[Row]
    per_image: list[Row]


def evaluate_generation(
    samples: PictureFeatures,
    reference: PictureFeatures | FeatureStatistics,
    *,
    split: str,
    reader: FeatureReader,
    statistics: FeatureStatistics | None = None,
    train: PictureFeatures | None = None,
    seed: int = 0,
) -> GenerationScores:
    """Score generated pictures.

    Args:
        samples: features of the generated pictures.
        reference: features of real pictures, which should not be the training ones; or only their mean and
            covariance, which the Fréchet distance alone can be computed from.
        split: what the reference is called in the row.
        reader: the networks that computed the features; their names are in the metrics' names.
        statistics: mean and covariance that the Fréchet distance is taken to instead of those of ``reference``;
            published files hold those of more pictures.
        train: features of the training pictures, for the copying check.
        seed: of the halves of the floor, the subsets of the kernel distance and the parts of the Inception score.

    Raises:
        ValueError: for fewer than ``MIN_FRECHET`` pictures, or features of another network.
    """
    check_count(len(samples))
    network = reader.network
    if statistics is None:
        statistics = reference if isinstance(reference, FeatureStatistics) else reference.statistics
    row: Row = {"split": split, "count": len(samples)}
    row[distance_name(network)] = frechet_distance(statistics, samples.statistics)
    per_image: list[Row] = [{"split": split, "key": key} for key in samples.keys]
    if isinstance(reference, PictureFeatures):
        row["count_reference"] = len(reference)
        row |= _set_metrics(samples, reference, network=network, seed=seed)
        if train is not None:
            row |= _copying(samples, reference, train, per_image)
    row |= _inception_score(samples, network, seed=seed)
    if reader.semantics is not None and any(samples.captions):
        row |= _caption_metrics(samples, reader.semantics, per_image)
    return GenerationScores(rows=[row], per_image=per_image)


def check_count(count: int) -> None:
    """Check that so many generated pictures can be scored as a set.

    Raises:
        ValueError: for fewer than ``MIN_FRECHET``.
    """
    if count < MIN_FRECHET:
        raise ValueError(f"generation: got {count} pictures, expected at least {MIN_FRECHET}")


def _inception_score(samples: PictureFeatures, network: FeatureNetwork, *, seed: int) -> Row:
    count, logits = len(samples), samples.logits
    if logits is None or network.name != "inception_2015" or count < INCEPTION_SPLITS:
        return {}
    # Samples are often stored class by class; the score is a mean over parts that should be alike.
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    mean, std = inception_score(logits[order], splits=INCEPTION_SPLITS)
    return {inception_score_name(network): mean, f"{inception_score_name(network)}_std": std}


@dataclass(frozen=True, kw_only=True)
class Floor:
    """Fréchet distances to the same real pictures, from equally many others.

    Attributes:
        count: how many of each.
        real: what other real pictures score: the best to hope for.
        samples: what as many samples score.
    """

    count: int
    real: float
    samples: float


def frechet_floor(
    samples: PictureFeatures, reference: PictureFeatures, *, generator: torch.Generator
) -> Floor | None:
    """What real pictures score against the others, and as many samples against those same others.

    As many are drawn as there are samples, at most half of the reference; None below ``MIN_FRECHET``.
    """
    count = min(len(samples), len(reference) // 2)
    if count < MIN_FRECHET:
        return None
    order = torch.randperm(len(reference), generator=generator)
    some, others = reference.pooled[order[:count]], FeatureStatistics.of(reference.pooled[order[count:]])
    drawn = samples.pooled[torch.randperm(len(samples), generator=generator)[:count]]
    return Floor(
        count=count,
        real=frechet_distance(others, FeatureStatistics.of(some)),
        samples=frechet_distance(others, FeatureStatistics.of(drawn)),
    )


def _set_metrics(
    samples: PictureFeatures, reference: PictureFeatures, *, network: FeatureNetwork, seed: int
) -> Row:
    """The floor, and the metrics that need the vectors of both sides."""
    generator = torch.Generator().manual_seed(seed)
    name, kernel = distance_name(network), kernel_distance_name(network)
    row: Row = {}
    if (floor := frechet_floor(samples, reference, generator=generator)) is not None:
        row |= {
            f"{name}_beside_floor": floor.samples,
            f"{name}_floor": floor.real,
            "count_floor": floor.count,
        }
    smaller = min(len(samples), len(reference))
    if MIN_PCA <= smaller < samples.pooled.shape[1]:
        directions = f"{name}_pca{PCA_COMPONENTS}"
        row[directions] = frechet_distance_pca(
            reference.statistics, samples.statistics, components=PCA_COMPONENTS
        )
    if smaller > NEIGHBOURS:
        distance = kernel_distance(reference.pooled, samples.pooled, generator=generator)
        row |= {kernel: distance.value, f"{kernel}_standard_error": distance.standard_error}
        shares = precision_recall(reference.pooled, samples.pooled, neighbours=NEIGHBOURS)
        row |= {f"precision_{network.name}": shares.precision, f"recall_{network.name}": shares.recall}
    return row


def _copying(
    samples: PictureFeatures, held_out: PictureFeatures, train: PictureFeatures, per_image: list[Row]
) -> Row:
    nearest = nearest_neighbours(samples.pooled, train.pooled)
    pairs = zip(nearest.distances[:, 0].tolist(), nearest.indices[:, 0].tolist(), strict=True)
    for picture, (distance, index) in zip(per_image, pairs, strict=True):
        picture |= {"nearest_train_distance": distance, "nearest_train_key": train.keys[index]}
    row: Row = {"count_train": len(train)}
    return row | copying_row(samples.pooled, train.pooled, held_out.pooled)


def _caption_metrics(samples: PictureFeatures, semantics: Semantics, per_image: list[Row]) -> Row:
    if samples.meaning is None:
        raise ValueError(
            "generation: got features that were read without the judges of captions, expected them with"
        )
    judge = semantics.judge(samples.captions)
    columns = judge.measure(torch.arange(len(samples)), samples.meaning)
    for index, picture in enumerate(per_image):
        picture |= {name: float(column[index]) for name, column in columns.items()}
    row: Row = {"count_captioned": sum(map(bool, samples.captions))}
    return row | means(columns)
