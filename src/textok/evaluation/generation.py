"""How good generated pictures are: distances to real ones, quality and coverage, captions, and copying."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from textok.data.samples import Batch
from textok.evaluation.alignment import Semantics, protocol
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.metrics import means, sets
from textok.evaluation.metrics.paired import MIN_FRECHET, MIN_PCA, PCA_COMPONENTS
from textok.evaluation.networks import FeatureNetwork, ImageFeatures, metric_name
from textok.evaluation.results import Row, Scores
from textok.pipeline.generation import Pipeline

NEIGHBOURS = 3
"""Neighbours that reach out the regions of precision and recall, as published."""

INCEPTION_SPLITS = 10
"""Runs of pictures that the Inception score is averaged over, as published."""

FEATURE_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class PictureFeatures:
    """Features of n pictures, in their order, in main memory: of the network of the distances ``pooled`` vectors and,
    where it has a classifier, ``logits``; ``meaning`` by the network of the caption judges, where captions are judged.
    """

    keys: tuple[str, ...]
    captions: tuple[str, ...]
    pooled: Float[Tensor, "n d"]
    logits: Float[Tensor, "n c"] | None = None
    meaning: ImageFeatures | None = None

    @cached_property
    def statistics(self) -> sets.FeatureStatistics:
        """Mean and covariance."""
        return sets.FeatureStatistics.of(self.pooled)

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, kw_only=True)
class FeatureReader:
    """The networks that read pictures as sets, on their device: that of the distances, and the judges of captions."""

    network: FeatureNetwork
    semantics: Semantics | None = None
    device: torch.device | str = "cpu"

    @property
    def settings(self) -> dict[str, Any]:
        """What the numbers depend on besides the pictures."""
        return {"task": "generation"} | protocol(self.network, self.semantics)

    def read(
        self,
        batches: Iterable[Batch],
        *,
        judged: bool = False,
        progress: Callable[[int], object] = lambda count: None,
    ) -> PictureFeatures:
        """Run the networks over pictures, which should have one size: that of the judges too where captions are judged.

        ``progress`` is called after every batch with its number of pictures. ``ValueError`` when there is none.
        """
        keys, captions = list[str](), list[str]()
        parts, meanings = list[ImageFeatures](), list[ImageFeatures]()
        for batch in batches:
            images = batch.images.to(self.device)
            features = self.network(images)
            parts.append(_kept(features))
            if judged and self.semantics is not None:
                meaning = self.semantics.features(images, features, self.network)
                meanings.append(_kept(meaning))
            keys += batch.keys
            captions += batch.captions
            progress(len(batch))
        if not keys:
            raise ValueError("features: got no picture, expected at least 1")
        whole = _joined(parts)
        return PictureFeatures(
            keys=tuple(keys),
            captions=tuple(captions),
            pooled=whole.pooled,
            logits=whole.logits,
            meaning=_joined(meanings) if meanings else None,
        )


def _kept(features: ImageFeatures) -> ImageFeatures:
    """What is kept of a batch: not the feature maps, which would fill the memory."""
    logits = None if features.logits is None else features.logits.float().cpu()
    return ImageFeatures(features.pooled.float().cpu(), logits=logits)


def _joined(parts: list[ImageFeatures]) -> ImageFeatures:
    pooled = torch.cat([part.pooled for part in parts])
    logits = [part.logits for part in parts if part.logits is not None]
    return ImageFeatures(pooled, logits=torch.cat(logits) if logits else None)


def score_generator(
    pipeline: Pipeline,
    pictures: CaptionedPictures,
    cells: Iterable[tuple[int, float]],
    *,
    reader: FeatureReader,
    reference: PictureFeatures,
    train: PictureFeatures | None = None,
    batch_size: int = 16,
    seed: int = 0,
    progress: Callable[[int], object] = lambda count: None,
) -> Scores:
    """One row per cell (a number of tokens with a scale of guidance): one picture for each caption of the held-out
    ``pictures``, always from the same noise, compared with the features of all held-out pictures.

    The other arguments are those of :func:`evaluate_generation`; ``progress`` gets the number of pictures of a cell.
    """
    total = Scores()
    for num_tokens, guidance in cells:
        samples = pipeline(
            list(pictures.captions),
            num_tokens=num_tokens,
            guidance=guidance,
            generator=torch.Generator().manual_seed(seed),
            batch_size=batch_size,
            output="uint8",
        )
        features = reader.read(replace(pictures, images=samples).batches(FEATURE_BATCH), judged=True)
        options: dict[str, Any] = {"split": pictures.split, "reader": reader, "train": train, "seed": seed}
        scores = evaluate_generation(features, reference, **options)
        total.extend(scores, split=pictures.split, budget=num_tokens, guidance=guidance)
        progress(len(pictures))
    return total


def evaluate_generation(
    samples: PictureFeatures,
    reference: PictureFeatures | None,
    *,
    split: str,
    reader: FeatureReader,
    statistics: sets.FeatureStatistics | None = None,
    train: PictureFeatures | None = None,
    seed: int = 0,
) -> Scores:
    """Score generated pictures: one row for the set, and one per picture with its caption scores and nearest picture.

    The ``reference``, which ``split`` names, should not be the training pictures; these are for the copying check.
    The Fréchet distance is taken to ``statistics`` instead, where they are given, which need no reference.
    ``seed`` is of the halves of the floor, the subsets of the kernel distance and the parts of the Inception score.
    ``ValueError`` for fewer than ``MIN_FRECHET`` pictures, or features of another network.
    """
    check_count(len(samples))
    network = reader.network
    if statistics is None:
        assert reference is not None, "there are statistics where there are no pictures"
        statistics = reference.statistics
    row: Row = {"split": split, "count": len(samples)}
    row[metric_name("fd", network)] = sets.frechet_distance(statistics, samples.statistics)
    per_image: list[Row] = [{"split": split, "key": key} for key in samples.keys]
    if reference is not None:
        row["count_reference"] = len(reference)
        row |= _set_metrics(samples, reference, network=network, seed=seed)
        if train is not None:
            row |= _copying(samples, reference, train, per_image)
    row |= _inception_score(samples, network, seed=seed)
    if reader.semantics is not None and any(samples.captions):
        row |= _caption_metrics(samples, reader.semantics, per_image)
    return Scores(rows=[row], per_image=per_image)


def check_count(count: int) -> None:
    """Check that so many generated pictures can be scored as a set; ``ValueError`` for fewer than ``MIN_FRECHET``."""
    if count < MIN_FRECHET:
        raise ValueError(f"generation: got {count} pictures, expected at least {MIN_FRECHET}")


def frechet_floor(
    samples: PictureFeatures, reference: PictureFeatures, *, name: str, generator: torch.Generator
) -> Row:
    """The score of real pictures against the others (floor), and of as many samples, at most half of the reference,
    against those same others; nothing below ``MIN_FRECHET``.
    """
    count = min(len(samples), len(reference) // 2)
    if count < MIN_FRECHET:
        return {}
    order = torch.randperm(len(reference), generator=generator)
    some, others = reference.pooled[order[:count]], sets.FeatureStatistics.of(reference.pooled[order[count:]])
    drawn = samples.pooled[torch.randperm(len(samples), generator=generator)[:count]]
    return {
        f"{name}_beside_floor": sets.frechet_distance(others, sets.FeatureStatistics.of(drawn)),
        f"{name}_floor": sets.frechet_distance(others, sets.FeatureStatistics.of(some)),
        "count_floor": count,
    }


def _set_metrics(
    samples: PictureFeatures, reference: PictureFeatures, *, network: FeatureNetwork, seed: int
) -> Row:
    generator = torch.Generator().manual_seed(seed)
    name, kernel = metric_name("fd", network), metric_name("kd", network)
    row = frechet_floor(samples, reference, name=name, generator=generator)
    smaller = min(len(samples), len(reference))
    if MIN_PCA <= smaller < samples.pooled.shape[1]:
        sides = (reference.statistics, samples.statistics)
        row[f"{name}_pca{PCA_COMPONENTS}"] = sets.frechet_distance_pca(*sides, components=PCA_COMPONENTS)
    if smaller > NEIGHBOURS:
        distance = sets.kernel_distance(reference.pooled, samples.pooled, generator=generator)
        row |= {kernel: distance.value, f"{kernel}_standard_error": distance.standard_error}
        precision, recall = sets.precision_recall(reference.pooled, samples.pooled, neighbours=NEIGHBOURS)
        row |= {f"precision_{network.name}": precision, f"recall_{network.name}": recall}
    return row


def _inception_score(samples: PictureFeatures, network: FeatureNetwork, *, seed: int) -> Row:
    count, logits, name = len(samples), samples.logits, metric_name("is", network)
    if logits is None or network.name != "inception_2015" or count < INCEPTION_SPLITS:
        return {}
    # Samples are often stored class by class; the score is a mean over parts that should be alike.
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    mean, std = sets.inception_score(logits[order], splits=INCEPTION_SPLITS)
    return {name: mean, f"{name}_std": std}


def _copying(
    samples: PictureFeatures, held_out: PictureFeatures, train: PictureFeatures, per_image: list[Row]
) -> Row:
    nearest = sets.nearest_neighbours(samples.pooled, train.pooled)
    pairs = zip(nearest.distances.tolist(), nearest.indices.tolist(), strict=True)
    for picture, (distance, index) in zip(per_image, pairs, strict=True):
        picture |= {"nearest_train_distance": distance, "nearest_train_key": train.keys[index]}
    row: Row = {"count_train": len(train)}
    return row | sets.copying_row(
        nearest.distances, sets.nearest_neighbours(held_out.pooled, train.pooled).distances
    )


def _caption_metrics(samples: PictureFeatures, semantics: Semantics, per_image: list[Row]) -> Row:
    if samples.meaning is None:
        raise ValueError(
            "generation: got features that were read without the judges of captions, expected them with"
        )
    columns = semantics.judge(samples.captions).measure(torch.arange(len(samples)), samples.meaning)
    for index, picture in enumerate(per_image):
        picture |= {name: float(column[index]) for name, column in columns.items()}
    row: Row = {"count_captioned": sum(map(bool, samples.captions))}
    return row | means(columns)
