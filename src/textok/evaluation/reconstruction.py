"""Everything that an evaluation of a tokenizer measures, by caption condition and budget.

Every row also describes the encodings of its caption condition: the latents' statistics are those of all K tokens,
whatever the row's budget; the codes' statistics are those of its first k, so that bits are those of the budget.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Int, UInt8
from torch import Tensor

from textok.evaluation.captioned import CaptionCondition, CaptionedPictures
from textok.evaluation.metrics.codes import channel_statistics, code_statistics, latent_statistics
from textok.evaluation.metrics.frechet import SplitStatistics
from textok.evaluation.metrics.paired import measure_pairs, set_distances
from textok.evaluation.metrics.picture_metric import Pairs
from textok.evaluation.metrics.semantics import CaptionJudge
from textok.evaluation.networks import FeatureNetwork, ImageFeatures
from textok.evaluation.picture_values import PictureValues, means
from textok.evaluation.results import ChannelRow, Row, Scores
from textok.models.tokenizer import Encoding

BUDGETS = (2, 4, 8, 16, 32)
"""Numbers of tokens that a tokenizer is evaluated at, up to its own K."""

Cell = tuple[CaptionCondition, int]
"""Caption condition and budget."""

Reconstructions = dict[Cell, UInt8[Tensor, "n 3 h w"]]
"""uint8 pictures by caption condition and budget."""

_FEATURES = "features"  # the column of feature vectors beside those of the metrics


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
class Originals:
    """A batch of original pictures, uint8, with their positions in the set and their features.

    ``meaning`` are the features by the network of the semantic metrics; None when those are not measured.
    """

    images: UInt8[Tensor, "b 3 h w"]
    indices: Int[Tensor, "b"]
    features: ImageFeatures
    meaning: ImageFeatures | None


class MetricAccumulator:
    """All metrics of a set, batch by batch; values and feature vectors of every picture stay in main memory.

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
        self.originals = PictureValues()
        self.encodings = {caption: PictureValues() for caption in captions}
        self.cells = {(caption, k): PictureValues() for caption in captions for k in budgets}

    def add_originals(self, images: UInt8[Tensor, "b 3 h w"], indices: Int[Tensor, "b"]) -> Originals:
        """Count a batch of originals and return their features, which their reconstructions are compared with."""
        features = self.network(images)
        originals = Originals(
            images=images, indices=indices, features=features, meaning=self._meaning(images, features)
        )
        self.originals.add(indices, {_FEATURES: features.pooled} | self._judged(originals.meaning, indices))
        return originals

    def add_encoding(self, caption: CaptionCondition, encoding: Encoding, indices: Int[Tensor, "b"]) -> None:
        """Count the encodings of a batch, of all K tokens."""
        columns = {
            "latents": encoding.latents.float(),
            "log_variance": None if encoding.log_variance is None else encoding.log_variance.float(),
            "codes": encoding.codes,
        }
        present = {name: values for name, values in columns.items() if values is not None}
        self.encodings[caption].add(indices, present)

    def add(self, cell: Cell, originals: Originals, reconstructions: UInt8[Tensor, "b 3 h w"]) -> None:
        """Count a batch of reconstructions."""
        features = self.network(reconstructions)
        pairs = Pairs(
            originals=originals.images,
            reconstructions=reconstructions,
            original_features=originals.features,
            features=features,
            network=self.network,
        )
        meaning = self._meaning(reconstructions, features)
        judged = self._judged(meaning, originals.indices, originals.meaning)
        self.cells[cell].add(originals.indices, {_FEATURES: features.pooled} | measure_pairs(pairs) | judged)

    def gather(self) -> None:
        """Bring the values of all ranks together, on every rank; a collective call."""
        for values in (self.originals, *self.encodings.values(), *self.cells.values()):
            values.gather()

    def scores(self, pictures: CaptionedPictures) -> Scores:
        """The metrics of the whole set."""
        scores = Scores()
        for caption, values in self.encodings.items():
            encodings = values.in_order()
            where: Row = {"split": pictures.split, "captions": caption}
            channels: ChannelRow = {"split": pictures.split, "captions": caption}
            scores.latents.append(channels | channel_statistics(encodings["latents"]))
            latents = latent_statistics(encodings["latents"], encodings.get("log_variance"))
            for k in (k for name, k in self.cells if name == caption):
                columns = self.cells[caption, k].in_order()
                sets = SplitStatistics(columns.pop(_FEATURES))
                row = where | {"budget": k, "count": len(pictures)} | means(columns)
                row |= set_distances(self._sets, sets, network=self.network) | self._ceiling
                if self.num_codes is not None:
                    row |= code_statistics(encodings["codes"][:, :k], num_codes=self.num_codes)
                scores.rows.append(row | latents)
                singles = zip(*(column.tolist() for column in columns.values()), strict=True)
                scores.per_image.extend(
                    where | {"budget": k, "key": key} | dict(zip(columns, single, strict=True))
                    for key, single in zip(pictures.keys, singles, strict=True)
                )
        return scores

    @cached_property
    def _sets(self) -> SplitStatistics:
        return SplitStatistics(self.originals.in_order()[_FEATURES])

    @cached_property
    def _ceiling(self) -> dict[str, float]:
        """What the originals score for their captions: the most to hope for."""
        columns = self.originals.in_order()
        columns.pop(_FEATURES)
        return {f"{name}_original": value for name, value in means(columns).items()}

    def _meaning(self, images: UInt8[Tensor, "b 3 h w"], features: ImageFeatures) -> ImageFeatures | None:
        if self.judge is None:
            return None
        return self.judge.semantics.features(images, known=features, by=self.network)

    def _judged(
        self,
        meaning: ImageFeatures | None,
        indices: Int[Tensor, "b"],
        originals: ImageFeatures | None = None,
    ) -> dict[str, Tensor]:
        if self.judge is None or meaning is None:
            return {}
        return self.judge.measure(indices, meaning, originals)
