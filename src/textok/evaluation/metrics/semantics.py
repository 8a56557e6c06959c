"""Semantic accuracy: does a reconstruction still say what the picture's caption says.

Two scores read a picture as a caption would: the two-tower head (trained on drawings) and the classifier's
posterior (made for photographs). Beside them, how far a classifier says the same of the reconstruction as of the
original. All values are per picture, so bootstrap intervals work, and add up over chunks and ranks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from textok.evaluation.alignment.class_posterior import ClassPosterior
from textok.evaluation.alignment.mean_states import TextSource, caption_features
from textok.evaluation.alignment.retrieval import caption_places, ranks_of_own
from textok.evaluation.alignment.two_tower import TwoTower
from textok.evaluation.networks import EffNetLite2, FeatureNetwork, ImageFeatures
from textok.models.text_encoder import TextEncoder


@dataclass(frozen=True, kw_only=True)
class Semantics:
    """The judges of semantic accuracy: built once, used for any number of picture sets.

    Attributes:
        network: what they read pictures with; a network with a classifier.
        two_tower: head on the network's pooled features.
        class_posterior: reading of its class posterior.
        text: captions to token states of the text encoder that both were made with.
    """

    network: FeatureNetwork
    two_tower: TwoTower
    class_posterior: ClassPosterior
    text: TextSource

    def __post_init__(self) -> None:
        expected = self.two_tower.config.image_network
        if self.network.name != expected:
            raise ValueError(
                f"semantics: got network {self.network.name}; the two-tower head reads {expected}"
            )

    @classmethod
    def from_pretrained(
        cls,
        two_tower: str | Path = "two-tower",
        *,
        network: FeatureNetwork | None = None,
        text: TextSource | None = None,
        device: torch.device | str = "cpu",
    ) -> "Semantics":
        """The shipped judges.

        Args:
            two_tower: shipped name or folder of the two-tower head.
            network: EfficientNet-lite2 where the caller has it already.
            text: token states of the head's text encoder (``TwoTowerConfig.text_encoder``) where the caller has
                them, such as a caption cache; the encoder itself is loaded when None.
            device: where the judges run.
        """
        head = TwoTower.from_pretrained(two_tower).to(device)
        text = text or TextEncoder.from_pretrained(
            head.config.text_encoder, max_tokens=head.config.max_text_tokens, device=device
        )
        return cls(
            network=network or EffNetLite2().to(device),
            two_tower=head,
            class_posterior=ClassPosterior.imagenet(text=text, device=device),
            text=text,
        )

    def features(
        self, images: UInt8[Tensor, "b 3 h w"], *, known: ImageFeatures, by: FeatureNetwork
    ) -> ImageFeatures:
        """What the network sees in pictures: ``known``, without looking again, when ``by`` is that very network."""
        return known if by is self.network else self.network(images)

    def judge(self, captions: Sequence[str]) -> "CaptionJudge":
        """Read the right captions of a picture set, once; a blank one is a picture without a caption."""
        distinct, own = caption_places(captions)
        if not distinct:
            return CaptionJudge(semantics=self, own=own, candidates={})
        device = self.class_posterior.classes.device
        features = caption_features(distinct, text=self.text).to(device)
        with torch.no_grad():
            candidates = {
                "two_tower": self.two_tower.embed_captions(features),
                "class_posterior": self.class_posterior.embed_captions(features),
            }
        return CaptionJudge(semantics=self, own=own, candidates=candidates)


@dataclass(frozen=True, kw_only=True)
class CaptionJudge:
    """The captions of one picture set, read and ready to compare pictures with.

    Attributes:
        semantics: the judges.
        own: each picture's place among the distinct captions (n,); -1 without a caption.
        candidates: unit vectors (m, e) of the m distinct captions, by judge.
    """

    semantics: Semantics
    own: Int[Tensor, "n"]
    candidates: Mapping[str, Float[Tensor, "m _"]]

    @torch.no_grad()
    def compare(self, features: ImageFeatures, places: Int[Tensor, "b"]) -> dict[str, Float[Tensor, "b"]]:
        """Retrieval (0 or 1) and alignment (cosine) of pictures with their captions, which all must exist.

        Args:
            features: of b pictures.
            places: of their captions among the distinct ones.
        """
        found = {}
        for name, captions in self.candidates.items():
            pictures = self._embed(name, features)
            own = places.to(pictures.device)
            found[f"retrieval_{name}_r1"] = (ranks_of_own(pictures, captions, own) == 0).float()
            found[f"alignment_{name}"] = (pictures * captions[own]).sum(dim=1)
        return found

    def _embed(self, name: str, features: ImageFeatures) -> Float[Tensor, "b _"]:
        if name == "two_tower":
            return self.semantics.two_tower.embed_images(features.pooled)
        return self.semantics.class_posterior.embed_images(_logits(features))


def load_semantics(network: FeatureNetwork, device: torch.device | str) -> Semantics:
    """The shipped judges; they share ``network`` where it is the one that they read."""
    return Semantics.from_pretrained(
        network=network if network.name == EffNetLite2.name else None, device=device
    )


def posterior_agreement(a: Float[Tensor, "b n"], b: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
    """1 - total variation distance of two class posteriors given as logits: 0 when disjoint, 1 when equal.

    The same as the sum over classes of the smaller of the two probabilities.
    """
    return torch.minimum(a.float().softmax(dim=1), b.float().softmax(dim=1)).sum(dim=1).clamp(max=1)


def top1_agreement(a: Float[Tensor, "b n"], b: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
    """1 where both logits have the same most likely class, else 0."""
    return (a.argmax(dim=1) == b.argmax(dim=1)).float()


@dataclass(kw_only=True)
class SemanticMetrics:
    """Running semantic metrics; add two of them to merge chunks or ranks.

    Attributes:
        values: metric name -> position of a picture in its set -> its value. Pictures without a caption have no
            retrieval and alignment.
    """

    values: dict[str, dict[int, float]] = field(default_factory=dict)

    def update(
        self,
        judge: CaptionJudge,
        pictures: ImageFeatures,
        *,
        indices: Int[Tensor, "b"],
        originals: ImageFeatures | None = None,
    ) -> None:
        """Add pictures that stand at the positions ``indices`` of the set.

        Args:
            judge: of this set's captions.
            pictures: features of the reconstructions, by ``judge.semantics.network``.
            indices: positions.
            originals: features of the originals, to compare what a classifier says; None to leave that out.
        """
        places = judge.own[indices]
        captioned = places >= 0
        if captioned.any():
            chosen = _rows(pictures, captioned)
            self._add(judge.compare(chosen, places[captioned]), indices[captioned])
        if originals is not None:
            name, pair = judge.semantics.network.name, (_logits(pictures), _logits(originals))
            agreement = {
                f"posterior_agreement_{name}": posterior_agreement(*pair),
                f"top1_agreement_{name}": top1_agreement(*pair),
            }
            self._add(agreement, indices)

    def _add(self, found: Mapping[str, Float[Tensor, "b"]], indices: Int[Tensor, "b"]) -> None:
        for name, column in found.items():
            self.values.setdefault(name, {}).update(zip(indices.tolist(), column.tolist(), strict=True))

    def __add__(self, other: "SemanticMetrics") -> "SemanticMetrics":
        names = dict.fromkeys((*self.values, *other.values))
        return SemanticMetrics(
            values={name: self.values.get(name, {}) | other.values.get(name, {}) for name in names}
        )

    def compute(self, originals: "SemanticMetrics | None" = None) -> dict[str, float]:
        """Means over pictures; those of ``originals``, the ceiling, as ``NAME_original``."""
        # fsum: the mean does not depend on the order in which chunks and ranks were added.
        row = {name: math.fsum(column.values()) / len(column) for name, column in self.values.items()}
        ceiling = originals.compute() if originals is not None else {}
        return row | {f"{name}_original": value for name, value in ceiling.items()}

    def of(self, index: int) -> dict[str, float]:
        """The values of one picture; NaN where it has none."""
        return {name: column.get(index, math.nan) for name, column in self.values.items()}


def _rows(features: ImageFeatures, rows: Tensor) -> ImageFeatures:
    return ImageFeatures(pooled=features.pooled[rows], logits=_logits(features)[rows])


def _logits(features: ImageFeatures) -> Float[Tensor, "b n"]:
    if features.logits is None:
        raise ValueError("semantics: the feature network gives no logits; expected one with a classifier")
    return features.logits
