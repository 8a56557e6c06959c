"""Everything that an evaluation of a tokenizer measures, by caption condition and budget.

Every row also describes the encodings of its caption condition: the latents' statistics are those of all K tokens,
whatever the row's budget; the codes' statistics are those of its first k, so that bits are those of the budget.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int, Shaped, UInt8
from torch import Tensor

from textok.evaluation.alignment import CaptionJudge
from textok.evaluation.captioned import CaptionCondition, CaptionedPictures
from textok.evaluation.metrics import Pairs, PictureValues, VectorSums, means
from textok.evaluation.metrics.paired import measure_pairs, set_distances
from textok.evaluation.metrics.sets import SplitFeatures
from textok.evaluation.networks import FeatureNetwork, ImageFeatures, Pictures
from textok.evaluation.results import Row, Scores
from textok.models.tokenizer import Encoding, TexTok

BUDGETS = (2, 4, 8, 16, 32)
"""Numbers of tokens that a tokenizer is evaluated at, up to its own K."""

Cell = tuple[CaptionCondition, int]
"""Caption condition and budget."""

Place = tuple[str | int, ...]
"""What values are of: () the originals, (condition,) its encodings, (condition, budget) its reconstructions."""

Measurements = dict[Place, dict[str, Shaped[Tensor, "b ..."]]]
"""Columns of values of a batch by what they are of; "vectors" are features, "latents" the tokens."""

Reconstructions = dict[Cell, UInt8[Tensor, "n 3 h w"]]
"""uint8 pictures by caption condition and budget."""


def usual_budgets(max_tokens: int) -> list[int]:
    """The usual budgets below the model's K, and K."""
    return sorted({k for k in BUDGETS if k < max_tokens} | {max_tokens})


def check_budgets(budgets: Sequence[int], *, max_tokens: int) -> list[int]:
    """The budgets in rising order, each once; ``ValueError`` for none, or what the model does not have."""
    if not budgets or not all(1 <= k <= max_tokens for k in budgets):
        listed = ", ".join(map(str, budgets)) or "none"
        raise ValueError(f"budgets: got {listed}, expected 1 to {max_tokens}, the tokens of the model")
    return sorted(set(budgets))


@dataclass(frozen=True, kw_only=True)
class Originals:
    """A batch of original pictures, with their positions in the set and their features: ``meaning`` are those by the
    network of the semantic metrics, where they are measured.
    """

    images: Pictures
    indices: Int[Tensor, "b"]
    features: ImageFeatures
    meaning: ImageFeatures | None


@dataclass(frozen=True, kw_only=True)
class Meter:
    """Measures batches of pictures: what takes time, and can be done anywhere. Without a judge of the set's right
    captions there are no semantic metrics.
    """

    network: FeatureNetwork
    judge: CaptionJudge | None

    def originals(self, images: Pictures, indices: Int[Tensor, "b"]) -> tuple[Originals, dict[str, Tensor]]:
        """A batch of originals, for their reconstructions to be compared with, and its values."""
        features = self.network(images)
        meaning, judged = self._judged(images, indices, features)
        originals = Originals(images=images, indices=indices, features=features, meaning=meaning)
        return originals, {"vectors": features.pooled, **judged}

    def reconstructions(self, originals: Originals, images: Pictures) -> dict[str, Tensor]:
        """The values of the reconstructions of a batch."""
        features = self.network(images)
        pairs = Pairs(
            originals=originals.images,
            reconstructions=images,
            original_features=originals.features,
            features=features,
            network=self.network,
        )
        _, judged = self._judged(images, originals.indices, features, originals.meaning)
        return {"vectors": features.pooled, **measure_pairs(pairs), **judged}

    def _judged(
        self,
        images: Pictures,
        indices: Int[Tensor, "b"],
        features: ImageFeatures,
        originals: ImageFeatures | None = None,
    ) -> tuple[ImageFeatures | None, dict[str, Tensor]]:
        if self.judge is None:
            return None, {}
        meaning = self.judge.semantics.features(images, features, self.network)
        return meaning, self.judge.measure(indices, meaning, originals)


def encoding_values(encoding: Encoding) -> dict[str, Tensor]:
    """The values of the encodings of a batch, of all K tokens."""
    columns = {"latents": encoding.latents}
    if encoding.log_variance is not None:
        columns["kl_nats_per_token"] = nats_per_token(encoding.latents, encoding.log_variance)
    if encoding.codes is not None:
        columns["codes"] = encoding.codes.int()
    return columns


class MetricAccumulator:
    """All metrics of a set of pictures under a model, batch by batch.

    In main memory stay the values and codes of every picture; its feature vectors only in small sets, see
    :class:`SplitFeatures`.
    """

    def __init__(
        self,
        pictures: CaptionedPictures,
        model: TexTok,
        network: FeatureNetwork,
        captions: Sequence[CaptionCondition],
        budgets: Sequence[int],
    ) -> None:
        self.set, self.network, self.num_codes = pictures, network, model.num_codes
        self._cells: list[Cell] = [(caption, k) for caption in captions for k in budgets]
        encodings: list[Place] = [(caption,) for caption in captions]
        seen: list[Place] = [(), *self._cells]
        self._values = {place: PictureValues() for place in seen + encodings}
        self._features = {place: SplitFeatures(count=len(pictures), dim=network.dim) for place in seen}
        self._latents = {place: VectorSums(model.config.latent_dim) for place in encodings}

    def add(self, indices: Int[Tensor, "b"], measurements: Measurements) -> None:
        """Count the batch at these positions of the set."""
        for place, columns in measurements.items():
            rest = dict(columns)
            if place in self._features:
                self._features[place].add(indices, rest.pop("vectors"))
            if place in self._latents:
                self._latents[place].add(rest.pop("latents").flatten(0, 1))
            self._values[place].add(indices, rest)

    def gather(self) -> None:
        """Bring the values of all ranks together, on every rank; a collective call."""
        for part in (self._values, self._features, self._latents):
            for values in part.values():
                values.gather()

    def scores(self) -> Scores:
        """The metrics of the whole set; to be called once, for the features of a cell go when it is scored."""
        scores, pictures = Scores(), self.set
        ceiling = {f"{name}_original": value for name, value in means(self._values[()].in_order()).items()}
        for place, sums in self._latents.items():
            caption, encodings = str(place[0]), self._values[place].in_order()
            channels, codes = channel_statistics(sums), encodings.pop("codes", None)
            scores.latents.append({"split": pictures.split, "captions": caption} | channels)
            latents = latent_extremes(channels) | means(encodings)
            for cell in (cell for cell in self._cells if cell[0] == caption):
                where: Row = {"split": pictures.split, "captions": caption, "budget": cell[1]}
                columns, features = self._values[cell].in_order(), self._features.pop(cell)
                row = where | {"count": len(pictures)} | means(columns)
                row |= set_distances(self._features[()], features, network=self.network) | ceiling
                if codes is not None and self.num_codes is not None:
                    row |= code_statistics(codes[:, : cell[1]], num_codes=self.num_codes)
                scores.rows.append(row | latents)
                singles = zip(*(column.tolist() for column in columns.values()), strict=True)
                scores.per_image.extend(
                    where | {"key": key} | dict(zip(columns, single, strict=True))
                    for key, single in zip(pictures.keys, singles, strict=True)
                )
        return scores


def code_statistics(codes: Int[Tensor, "n k"], *, num_codes: int) -> dict[str, float]:
    """How a discrete tokenizer uses its codes, integers from 0 to ``num_codes`` - 1, over n pictures of k tokens.

    ``code_usage`` is the share of the codes that occur at all; ``code_perplexity`` exp of the entropy of their
    frequencies, from 1 to ``num_codes``; ``bits_per_image`` k log2(num_codes), the size of a picture's tokens without
    entropy coding. ``ValueError`` for no codes, or codes out of range.
    """
    if not codes.numel() or int(codes.min()) < 0 or int(codes.max()) >= num_codes:
        raise ValueError(f"codes: got {tuple(codes.shape)} of them, expected some, from 0 to {num_codes - 1}")
    counts = torch.bincount(codes.flatten(), minlength=num_codes).double()
    entropy = torch.special.entr(counts / counts.sum()).sum()
    return {
        "code_usage": float((counts > 0).double().mean()),
        "code_perplexity": float(entropy.exp()),
        "bits_per_image": codes.shape[1] * math.log2(num_codes),
    }


def channel_statistics(latents: VectorSums) -> dict[str, list[float]]:
    """``mean`` and ``std`` of each channel over every token of a set, on the scale that ``TexTok.encode`` gives."""
    mean, covariance = latents.moments(correction=0)
    return {"mean": mean.tolist(), "std": covariance.diagonal().clamp(min=0).sqrt().tolist()}


def latent_extremes(channels: dict[str, list[float]]) -> dict[str, float]:
    """How far latents are from a mean of 0 and a standard deviation of 1 in the worst of all channels: near 0, 1 and 1
    when the stored normalization fits these pictures.
    """
    return {
        "latent_mean_abs_max": max(map(abs, channels["mean"])),
        "latent_std_min": min(channels["std"]),
        "latent_std_max": max(channels["std"]),
    }


def nats_per_token(
    latents: Float[Tensor, "n k c"], log_variance: Float[Tensor, "n k c"]
) -> Float64[Tensor, "n"]:
    """Divergence of N(latent, variance) from N(0, 1), summed over channels and averaged over each picture's tokens.

    Both are on the unit scale that ``TexTok.encode`` gives for a ``kl`` tokenizer.
    """
    values, logs = latents.double(), log_variance.double()
    return 0.5 * (values.square() + logs.exp() - 1 - logs).sum(dim=2).mean(dim=1)
