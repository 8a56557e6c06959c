"""Everything that an evaluation of a tokenizer measures: of one rank, then of all of them.

Every row also describes the encodings of its caption condition: the latents' statistics are those of all K tokens,
whatever the row's budget; the codes' statistics are those of its first k, so that bits are those of the budget.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from textok.evaluation.captioned import CaptionCondition, CaptionedPictures
from textok.evaluation.encodings import EncodingRecord
from textok.evaluation.merging import merge_metrics, merge_statistics, merge_sums
from textok.evaluation.metrics.frechet import SplitStatistics
from textok.evaluation.metrics.paired import PairedMetrics
from textok.evaluation.metrics.semantics import CaptionJudge, SemanticMetrics
from textok.evaluation.networks import FeatureNetwork, ImageFeatures
from textok.evaluation.results import ChannelRow, Row
from textok.models.tokenizer import Encoding

BUDGETS = (2, 4, 8, 16, 32)
"""Numbers of tokens that a tokenizer is evaluated at, up to its own K."""

Cell = tuple[CaptionCondition, int]
"""Caption condition and budget."""

Reconstructions = dict[Cell, UInt8[Tensor, "n 3 h w"]]
"""uint8 pictures by caption condition and budget."""


def usual_budgets(max_tokens: int) -> list[int]:
    """The usual budgets below the model's K, and K."""
    return sorted({k for k in BUDGETS if k < max_tokens} | {max_tokens})


def check_budgets(budgets: Sequence[int], *, max_tokens: int) -> None:
    """Check that there are budgets, and that the model has as many tokens.

    Raises:
        ValueError: when they are none, or one is not in 1..K.
    """
    if not budgets or not all(1 <= k <= max_tokens for k in budgets):
        raise ValueError(
            f"budgets: got {tuple(budgets)}, expected numbers from 1 to the model's {max_tokens} tokens"
        )


@dataclass(frozen=True, kw_only=True)
class ReconstructionScores:
    """The scores of one picture set.

    Attributes:
        rows: one row per caption condition and budget: split, captions, budget, count and the metrics by name.
        per_image: one row per picture, caption condition and budget: split, key, captions, budget and the
            metrics that single pictures have (for bootstrap intervals).
        latents: one row per caption condition: split, captions, and lists of the mean and std of every channel.
    """

    rows: list[Row]
    per_image: list[Row]
    latents: list[ChannelRow]


@dataclass(frozen=True, kw_only=True)
class Originals:
    """A batch of original pictures with their features.

    Attributes:
        images: uint8 pictures.
        indices: their positions in the set.
        features: by the network of the distances.
        meaning: by the network of the semantic metrics; None when those are not measured.
    """

    images: UInt8[Tensor, "b 3 h w"]
    indices: Int[Tensor, "b"]
    features: ImageFeatures
    meaning: ImageFeatures | None


class MetricAccumulator:
    """Running sums of all metrics.

    Args:
        network: feature network of the distances.
        captions: caption conditions.
        budgets: numbers of tokens.
        judge: of the set's right captions; None leaves the semantic metrics out.
        num_codes: size of a discrete tokenizer's vocabulary, else None.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        *,
        captions: Sequence[CaptionCondition],
        budgets: Sequence[int],
        judge: CaptionJudge | None,
        num_codes: int | None,
    ) -> None:
        self.network, self.judge, self.num_codes = network, judge, num_codes
        cells: list[Cell] = [(caption, k) for caption in captions for k in budgets]
        self.paired = {cell: PairedMetrics.empty(network) for cell in cells}
        self.semantic = {cell: SemanticMetrics() for cell in cells}
        self.encodings = {caption: EncodingRecord() for caption in captions}
        self.originals = SplitStatistics.empty(network.dim)
        self.original_semantic = SemanticMetrics()

    def add_originals(self, images: UInt8[Tensor, "b 3 h w"], indices: Int[Tensor, "b"]) -> Originals:
        """Count a batch of originals and return their features, which their reconstructions are compared with."""
        features = self.network(images)
        meaning = self._meaning(images, features)
        self.originals = self.originals + SplitStatistics.of(features.pooled, indices)
        if self.judge is not None and meaning is not None:
            self.original_semantic.update(self.judge, meaning, indices=indices)
        return Originals(images=images, indices=indices, features=features, meaning=meaning)

    def add_encoding(self, caption: CaptionCondition, encoding: Encoding) -> None:
        """Count the encodings of a batch, of all K tokens."""
        self.encodings[caption].update(encoding)

    def add(self, cell: Cell, originals: Originals, reconstructions: UInt8[Tensor, "b 3 h w"]) -> None:
        """Count a batch of reconstructions."""
        features, indices = self.network(reconstructions), originals.indices
        self.paired[cell].update(
            originals.images,
            reconstructions,
            indices=indices,
            original_features=originals.features,
            features=features,
        )
        meaning = self._meaning(reconstructions, features)
        if self.judge is not None and meaning is not None:
            self.semantic[cell].update(self.judge, meaning, indices=indices, originals=originals.meaning)

    def _meaning(self, images: UInt8[Tensor, "b 3 h w"], features: ImageFeatures) -> ImageFeatures | None:
        if self.judge is None:
            return None
        return self.judge.semantics.features(images, known=features, by=self.network)

    def merge_ranks(self, device: torch.device) -> None:
        """Add up the sums of all ranks, on every rank; a collective call."""
        self.paired = {cell: merge_metrics(metrics, device=device) for cell, metrics in self.paired.items()}
        self.originals = merge_statistics(self.originals, device=device)
        self.semantic = {cell: merge_sums(metrics) for cell, metrics in self.semantic.items()}
        self.original_semantic = merge_sums(self.original_semantic)
        self.encodings = {caption: merge_sums(record) for caption, record in self.encodings.items()}

    def scores(self, pictures: CaptionedPictures) -> ReconstructionScores:
        """The metrics of the whole set."""
        return ReconstructionScores(
            rows=self._rows(pictures), per_image=self._per_image(pictures), latents=self._latents(pictures)
        )

    def _rows(self, pictures: CaptionedPictures) -> list[Row]:
        latents = {caption: record.latent_row() for caption, record in self.encodings.items()}
        return [
            {"split": pictures.split, "captions": caption, "budget": k, "count": len(pictures)}
            | paired.compute(self.originals)
            | self.semantic[caption, k].compute(self.original_semantic)
            | self.encodings[caption].code_row(k, num_codes=self.num_codes)
            | latents[caption]
            for (caption, k), paired in self.paired.items()
        ]

    def _latents(self, pictures: CaptionedPictures) -> list[ChannelRow]:
        return [
            {"split": pictures.split, "captions": caption, **record.channels()}
            for caption, record in self.encodings.items()
        ]

    def _per_image(self, pictures: CaptionedPictures) -> list[Row]:
        return [
            {"split": pictures.split, "captions": caption, "budget": k, "key": pictures.keys[i]}
            | {name: column[place] for name, column in paired.per_image.items()}
            | self.semantic[caption, k].of(i)
            for (caption, k), paired in self.paired.items()
            for i, place in sorted((index, place) for place, index in enumerate(paired.indices))
        ]
