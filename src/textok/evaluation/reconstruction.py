"""Everything that an evaluation of a tokenizer measures, by caption condition and budget.

Every row also describes the encodings of its caption condition: the latents' statistics are those of all K tokens,
whatever the row's budget; the codes' statistics are those of its first k, so that bits are those of the budget.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Int, UInt8
from torch import Tensor

from textok.evaluation.captioned import CaptionCondition, CaptionedPictures
from textok.evaluation.metrics import Pairs
from textok.evaluation.metrics.codes import (
    channel_statistics,
    code_statistics,
    latent_extremes,
    nats_per_token,
)
from textok.evaluation.metrics.frechet import SplitFeatures
from textok.evaluation.metrics.paired import measure_pairs, set_distances
from textok.evaluation.metrics.semantics import CaptionJudge
from textok.evaluation.networks import FeatureNetwork, ImageFeatures
from textok.evaluation.picture_values import PictureValues, VectorSums, means
from textok.evaluation.results import Row, Scores
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


def check_budgets(budgets: Sequence[int], *, max_tokens: int) -> list[int]:
    """The budgets in rising order, each once.

    Raises:
        ValueError: when there are none, or for a number of tokens that the model does not have.
    """
    if not budgets or not all(1 <= k <= max_tokens for k in budgets):
        listed = ", ".join(map(str, budgets)) or "none"
        raise ValueError(f"budgets: got {listed}, expected 1 to {max_tokens}, the tokens of the model")
    return sorted(set(budgets))


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
    """All metrics of a set, batch by batch.

    In main memory stay the values and codes of every picture; its feature vectors only in small sets, see
    :class:`SplitFeatures`.

    Args:
        network: feature network of the distances.
        count: pictures of the set.
        captions: caption conditions.
        budgets: numbers of tokens.
        judge: of the set's right captions; None leaves the semantic metrics out.
        latent_dim: channels of a token.
        num_codes: size of a discrete tokenizer's vocabulary, else None.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        *,
        count: int,
        captions: Sequence[CaptionCondition],
        budgets: Sequence[int],
        judge: CaptionJudge | None,
        latent_dim: int,
        num_codes: int | None,
    ) -> None:
        self.network, self.judge, self.num_codes = network, judge, num_codes
        cells = [(caption, k) for caption in captions for k in budgets]
        self._originals, self._values = PictureValues(), {cell: PictureValues() for cell in cells}
        self._original_features = SplitFeatures(count=count, dim=network.dim)
        self._features = {cell: SplitFeatures(count=count, dim=network.dim) for cell in cells}
        self._encodings = {caption: PictureValues() for caption in captions}
        self._latents = {caption: VectorSums(latent_dim) for caption in captions}

    def add_originals(self, images: UInt8[Tensor, "b 3 h w"], indices: Int[Tensor, "b"]) -> Originals:
        """Count a batch of originals and return their features, which their reconstructions are compared with."""
        features = self.network(images)
        meaning = self._meaning(images, features)
        self._original_features.add(indices, features.pooled)
        self._originals.add(indices, self._judged(meaning, indices))
        return Originals(images=images, indices=indices, features=features, meaning=meaning)

    def add_encoding(self, caption: CaptionCondition, encoding: Encoding, indices: Int[Tensor, "b"]) -> None:
        """Count the encodings of a batch, of all K tokens."""
        columns = {}
        if encoding.log_variance is not None:
            columns["kl_nats_per_token"] = nats_per_token(encoding.latents, encoding.log_variance)
        if encoding.codes is not None:
            columns["codes"] = encoding.codes.int()
        self._encodings[caption].add(indices, columns)
        self._latents[caption].add(encoding.latents.flatten(0, 1))

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
        self._features[cell].add(originals.indices, features.pooled)
        self._values[cell].add(originals.indices, measure_pairs(pairs) | judged)

    def gather(self) -> None:
        """Bring the values of all ranks together, on every rank; a collective call."""
        by_name = (self._values, self._features, self._encodings, self._latents)
        for values in (self._originals, self._original_features, *(v for d in by_name for v in d.values())):
            values.gather()

    def scores(self, pictures: CaptionedPictures) -> Scores:
        """The metrics of the whole set; to be called once, for the features of a cell go when it is scored."""
        scores = Scores()
        ceiling = {f"{name}_original": value for name, value in means(self._originals.in_order()).items()}
        for caption, values in self._encodings.items():
            encodings, channels = values.in_order(), channel_statistics(self._latents[caption])
            codes = encodings.pop("codes", None)
            scores.latents.append({"split": pictures.split, "captions": caption} | channels)
            latents = latent_extremes(channels) | means(encodings)
            for k in (k for name, k in self._values if name == caption):
                where: Row = {"split": pictures.split, "captions": caption, "budget": k}
                columns, features = self._values[caption, k].in_order(), self._features.pop((caption, k))
                row = where | {"count": len(pictures)} | means(columns)
                row |= set_distances(self._original_features, features, network=self.network) | ceiling
                if codes is not None and self.num_codes is not None:
                    row |= code_statistics(codes[:, :k], num_codes=self.num_codes)
                scores.rows.append(row | latents)
                singles = zip(*(column.tolist() for column in columns.values()), strict=True)
                scores.per_image.extend(
                    where | {"key": key} | dict(zip(columns, single, strict=True))
                    for key, single in zip(pictures.keys, singles, strict=True)
                )
        return scores

    def _meaning(self, images: UInt8[Tensor, "b 3 h w"], features: ImageFeatures) -> ImageFeatures | None:
        if self.judge is None:
            return None
        return self.judge.semantics.features(images, features=features, network=self.network)

    def _judged(
        self,
        meaning: ImageFeatures | None,
        indices: Int[Tensor, "b"],
        originals: ImageFeatures | None = None,
    ) -> dict[str, Tensor]:
        if self.judge is None or meaning is None:
            return {}
        return self.judge.measure(indices, meaning, originals)
