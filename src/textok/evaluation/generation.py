"""How good generated pictures are: distances to real ones, quality and coverage, captions, and copying.

Pictures stream through the networks batch by batch; what is kept is one feature vector a picture.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from textok.evaluation.metrics.frechet import FeatureStatistics, frechet_distance, frechet_distance_pca
from textok.evaluation.metrics.inception_score import inception_score
from textok.evaluation.metrics.kernel_distance import kernel_distance
from textok.evaluation.metrics.nearest_neighbours import copying_row, nearest_neighbours
from textok.evaluation.metrics.paired import MIN_FRECHET, MIN_PCA, PCA_COMPONENTS
from textok.evaluation.metrics.precision_recall import precision_recall
from textok.evaluation.metrics.semantics import SemanticMetrics, Semantics
from textok.evaluation.networks import (
    FeatureNetwork,
    ImageFeatures,
    distance_name,
    inception_score_name,
    kernel_distance_name,
)
from textok.evaluation.reconstruction import Row

NEIGHBOURS = 3
"""Neighbours that reach out the regions of precision and recall, as published."""

INCEPTION_SPLITS = 10
"""Runs of pictures that the Inception score is averaged over, as published."""


@dataclass(frozen=True, kw_only=True)
class PictureFeatures:
    """What a network sees in a set of pictures, in their order, in main memory.

    Attributes:
        keys: names of the n pictures.
        captions: theirs; "" for none.
        pooled: one vector a picture.
        logits: its classifier's output; None where the network has none.
        meaning: what the network of the caption judges sees; None when captions are not judged.
    """

    keys: tuple[str, ...]
    captions: tuple[str, ...]
    pooled: Float[Tensor, "n d"]
    logits: Float[Tensor, "n c"] | None = None
    meaning: ImageFeatures | None = None

    @cached_property
    def statistics(self) -> FeatureStatistics:
        """Mean and covariance."""
        return FeatureStatistics.of(self.pooled)

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, kw_only=True)
class NamedPictures:
    """Some pictures of a set: uint8 pixels, names and captions."""

    images: UInt8[Tensor, "b 3 h w"]
    keys: Sequence[str]
    captions: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class GenerationScores:
    """What an evaluation found: one row, and per picture its caption scores and nearest training picture."""

    rows: list[Row]
    per_image: list[Row]


def read_features(
    batches: Iterable[NamedPictures],
    *,
    network: FeatureNetwork,
    device: torch.device | str = "cpu",
    semantics: Semantics | None = None,
    progress: Callable[[int], object] | None = None,
) -> PictureFeatures:
    """Run a network over pictures.

    Args:
        batches: the pictures; a batch has one size, and all should have the same.
        network: of the distances.
        device: where it runs.
        semantics: judges of captions, whose network is run too when it is another.
        progress: told after every batch how many pictures are done more.

    Raises:
        ValueError: when there is no picture.
    """
    keys: list[str] = []
    captions: list[str] = []
    found: list[ImageFeatures] = []
    meanings: list[ImageFeatures] = []
    for batch in batches:
        images = batch.images.to(device)
        features = network(images)
        found.append(_kept(features))
        if semantics is not None:
            meanings.append(_kept(semantics.features(images, known=features, by=network)))
        keys += batch.keys
        captions += batch.captions
        if progress is not None:
            progress(len(batch.keys))
    if not found:
        raise ValueError("features: found no picture; expected at least 1")
    whole = _joined(found)
    return PictureFeatures(
        keys=tuple(keys),
        captions=tuple(captions),
        pooled=whole.pooled,
        logits=whole.logits,
        meaning=_joined(meanings) if meanings else None,
    )


def evaluate_generation(
    made: PictureFeatures,
    reference: PictureFeatures | FeatureStatistics,
    *,
    split: str,
    network: FeatureNetwork,
    statistics: FeatureStatistics | None = None,
    train: PictureFeatures | None = None,
    semantics: Semantics | None = None,
    seed: int = 0,
) -> GenerationScores:
    """Score generated pictures.

    Args:
        made: features of the generated pictures.
        reference: features of real pictures, which should not be the training ones; or only their mean and
            covariance, which the Fréchet distance alone can be computed from.
        split: what the reference is called in the row.
        network: that made the features; its name is in the metrics' names.
        statistics: mean and covariance that the Fréchet distance is taken to instead of those of ``reference``;
            published files hold those of more pictures.
        train: features of the training pictures, for the copying check.
        semantics: judges of captions; the pictures that have one are scored.
        seed: of the halves of the floor, the subsets of the kernel distance and the parts of the Inception score.

    Raises:
        ValueError: for fewer than ``MIN_FRECHET`` pictures, or features of another network.
    """
    count = len(made)
    check_count(count)
    if statistics is None:
        statistics = reference if isinstance(reference, FeatureStatistics) else reference.statistics
    row: Row = {"split": split, "count": count}
    row[distance_name(network)] = frechet_distance(statistics, made.statistics)
    per_image: list[Row] = [{"split": split, "key": key} for key in made.keys]
    if isinstance(reference, PictureFeatures):
        row["count_reference"] = len(reference)
        row |= _set_metrics(made, reference, network=network, seed=seed)
        if train is not None:
            row |= _copying(made, reference, train, per_image)
    if made.logits is not None and network.name == "inception_2015" and count >= INCEPTION_SPLITS:
        # Samples are often stored class by class; the score is a mean over parts that should be alike.
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        mean, std = inception_score(made.logits[order], splits=INCEPTION_SPLITS)
        row |= {inception_score_name(network): mean, f"{inception_score_name(network)}_std": std}
    if semantics is not None and any(made.captions):
        row |= _caption_metrics(made, semantics, per_image)
    return GenerationScores(rows=[row], per_image=per_image)


def check_count(count: int) -> None:
    """That so many generated pictures can be scored as a set.

    Raises:
        ValueError: for fewer than ``MIN_FRECHET``.
    """
    if count < MIN_FRECHET:
        raise ValueError(f"generation: got {count} pictures; expected at least {MIN_FRECHET}")


@dataclass(frozen=True, kw_only=True)
class Floor:
    """Fréchet distances to the same real pictures, from equally many others.

    Attributes:
        count: how many of each.
        real: what other real pictures score: the best to hope for.
        made: what as many of the made ones score.
    """

    count: int
    real: float
    made: float


def frechet_floor(
    made: PictureFeatures, reference: PictureFeatures, *, generator: torch.Generator
) -> Floor | None:
    """What real pictures score against the others, and as many made ones against those same others.

    As many are drawn as there are made pictures, at most half of the reference; None below ``MIN_FRECHET``.
    """
    count = min(len(made), len(reference) // 2)
    if count < MIN_FRECHET:
        return None
    order = torch.randperm(len(reference), generator=generator)
    some, others = reference.pooled[order[:count]], FeatureStatistics.of(reference.pooled[order[count:]])
    drawn = made.pooled[torch.randperm(len(made), generator=generator)[:count]]
    return Floor(
        count=count,
        real=frechet_distance(others, FeatureStatistics.of(some)),
        made=frechet_distance(others, FeatureStatistics.of(drawn)),
    )


def _set_metrics(
    made: PictureFeatures, reference: PictureFeatures, *, network: FeatureNetwork, seed: int
) -> Row:
    """The floor, and the metrics that need the vectors of both sides."""
    generator = torch.Generator().manual_seed(seed)
    name, kernel = distance_name(network), kernel_distance_name(network)
    row: Row = {}
    if (floor := frechet_floor(made, reference, generator=generator)) is not None:
        row |= {f"{name}_beside_floor": floor.made, f"{name}_floor": floor.real, "count_floor": floor.count}
    smaller = min(len(made), len(reference))
    if MIN_PCA <= smaller < made.pooled.shape[1]:
        directions = f"{name}_pca{PCA_COMPONENTS}"
        row[directions] = frechet_distance_pca(
            reference.statistics, made.statistics, components=PCA_COMPONENTS
        )
    if smaller > NEIGHBOURS:
        found = kernel_distance(reference.pooled, made.pooled, generator=generator)
        row |= {kernel: found.value, f"{kernel}_standard_error": found.standard_error}
        shares = precision_recall(reference.pooled, made.pooled, neighbours=NEIGHBOURS)
        row |= {f"precision_{network.name}": shares.precision, f"recall_{network.name}": shares.recall}
    return row


def _copying(
    made: PictureFeatures, held_out: PictureFeatures, train: PictureFeatures, per_image: list[Row]
) -> Row:
    nearest = nearest_neighbours(made.pooled, train.pooled)
    pairs = zip(nearest.distances[:, 0].tolist(), nearest.indices[:, 0].tolist(), strict=True)
    for one, (distance, place) in zip(per_image, pairs, strict=True):
        one |= {"nearest_train_distance": distance, "nearest_train_key": train.keys[place]}
    row: Row = {"count_train": len(train)}
    return row | copying_row(made.pooled, train.pooled, held_out.pooled)


def _caption_metrics(made: PictureFeatures, semantics: Semantics, per_image: list[Row]) -> Row:
    if made.meaning is None:
        raise ValueError("generation: the features were read without the judges of captions; expected with")
    metrics = SemanticMetrics()
    judge = semantics.judge(made.captions)
    metrics.update(judge, made.meaning, indices=torch.arange(len(made)))
    for place, one in enumerate(per_image):
        one |= metrics.of(place)
    row: Row = {"count_captioned": sum(map(bool, made.captions))}
    return row | metrics.compute()


def _kept(features: ImageFeatures) -> ImageFeatures:
    """Without the feature maps, in main memory."""
    logits = None if features.logits is None else features.logits.float().cpu()
    return ImageFeatures(pooled=features.pooled.float().cpu(), logits=logits)


def _joined(parts: Sequence[ImageFeatures]) -> ImageFeatures:
    logits = [part.logits for part in parts if part.logits is not None]
    return replace(
        parts[0],
        pooled=torch.cat([part.pooled for part in parts]),
        logits=torch.cat(logits) if len(logits) == len(parts) else None,
    )
