"""Everything that an evaluation of a tokenizer has measured so far: of one rank, then of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from textok.evaluation.captioned import Caption, CaptionedPictures
from textok.evaluation.encodings import EncodingRecord
from textok.evaluation.merging import merge_metrics, merge_statistics, merge_sums
from textok.evaluation.metrics.frechet import SplitStatistics
from textok.evaluation.metrics.paired import PairedMetrics
from textok.evaluation.metrics.semantics import CaptionJudge, SemanticMetrics
from textok.evaluation.networks import FeatureNetwork, ImageFeatures
from textok.models.tokenizer import Encoding

Row = dict[str, str | int | float]
"""One flat record of a table."""

ChannelRow = dict[str, str | list[float]]
"""The latents' channels of one split and caption condition: ``split``, ``captions``, ``mean`` and ``std``."""

Cell = tuple[Caption, int]
"""Caption condition and budget."""


@dataclass(frozen=True, kw_only=True)
class Originals:
    """A batch of original pictures, and what the networks see in them.

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


class Tally:
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
        captions: Sequence[Caption],
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
        """Count a batch of originals, and keep what is seen in them for their reconstructions."""
        features = self.network(images)
        meaning = self._meaning(images, features)
        self.originals = self.originals + SplitStatistics.of(features.pooled, indices)
        if self.judge is not None and meaning is not None:
            self.original_semantic.update(self.judge, meaning, indices=indices)
        return Originals(images=images, indices=indices, features=features, meaning=meaning)

    def add_encoding(self, caption: Caption, encoding: Encoding) -> None:
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
        """Put the sums of all ranks together, on every rank; a collective call."""
        self.paired = {cell: merge_metrics(found, device=device) for cell, found in self.paired.items()}
        self.originals = merge_statistics(self.originals, device=device)
        self.semantic = {cell: merge_sums(found) for cell, found in self.semantic.items()}
        self.original_semantic = merge_sums(self.original_semantic)
        self.encodings = {caption: merge_sums(found) for caption, found in self.encodings.items()}

    def rows(self, pictures: CaptionedPictures) -> list[Row]:
        """One row a cell: its means and distances, with the statistics of its condition's latents and codes."""
        latents = {caption: record.latent_row() for caption, record in self.encodings.items()}
        return [
            {"split": pictures.split, "captions": caption, "budget": k, "count": len(pictures)}
            | paired.compute(self.originals)
            | self.semantic[caption, k].compute(self.original_semantic)
            | self.encodings[caption].code_row(k, num_codes=self.num_codes)
            | latents[caption]
            for (caption, k), paired in self.paired.items()
        ]

    def latents(self, pictures: CaptionedPictures) -> list[ChannelRow]:
        """One row a caption condition: mean and standard deviation of every channel of all K latents."""
        return [
            {"split": pictures.split, "captions": caption, **record.channels()}
            for caption, record in self.encodings.items()
        ]

    def per_image(self, pictures: CaptionedPictures) -> list[Row]:
        """One row a picture and cell, pictures in the order of the set."""
        return [
            {"split": pictures.split, "captions": caption, "budget": k, "key": pictures.keys[i]}
            | {name: column[place] for name, column in paired.per_image.items()}
            | self.semantic[caption, k].of(i)
            for (caption, k), paired in self.paired.items()
            for i, place in sorted((index, place) for place, index in enumerate(paired.indices))
        ]
