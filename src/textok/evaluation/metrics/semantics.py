"""Semantic accuracy: does a reconstruction still show what the picture's caption says?

Two scores compare a picture with its caption: that of the two-tower head, trained on drawings, and that of the
classifier's posterior, which suits photographs. Two more compare what a classifier sees in the reconstruction and in
the original. Every picture has its own value, so that bootstrap intervals work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from textok.evaluation.alignment import (
    ClassPosterior,
    TextSource,
    TwoTower,
    caption_features,
    distinct_captions,
    ranks_of_own,
)
from textok.evaluation.networks import EffNetLite2, FeatureNetwork, ImageFeatures
from textok.models.text_encoder import TextEncoder
from textok.pipeline.text import RememberedText


@dataclass(frozen=True, kw_only=True)
class Semantics:
    """The judges of semantic accuracy: loaded once, used for any number of picture sets.

    Attributes:
        network: reads the pictures; it has a classifier.
        two_tower: the head on the network's pooled features.
        class_posterior: compares the network's class posterior with captions.
        text: turns captions into the token states that both judges read.
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
        text: RememberedText | None = None,
        device: torch.device | str = "cpu",
    ) -> "Semantics":
        """The shipped judges.

        Args:
            two_tower: shipped name or folder of the two-tower head.
            network: a network that the caller has already: shared where it is the one that the head reads.
            text: the tokenizer's text encoder: shared where it is the one that the head reads.
            device: where the judges run.
        """
        head = TwoTower.from_pretrained(two_tower).to(device)
        name, limit = head.config.text_encoder, head.config.max_text_tokens
        if text is not None and text.encoder.info == TextEncoder.describe(name, max_tokens=limit):
            source: TextSource = text
        else:
            source = TextEncoder.from_pretrained(name, max_tokens=limit, device=device)
        return cls(
            network=network
            if network is not None and network.name == EffNetLite2.name
            else EffNetLite2().to(device),
            two_tower=head,
            class_posterior=ClassPosterior.imagenet(text=source, device=device),
            text=source,
        )

    def features(
        self, images: UInt8[Tensor, "b 3 h w"], *, features: ImageFeatures, network: FeatureNetwork
    ) -> ImageFeatures:
        """Features by the judges' network: ``features`` themselves, when ``network``, which gave them, is that one."""
        return features if network is self.network else self.network(images)

    def judge(self, captions: Sequence[str]) -> "CaptionJudge":
        """Read the right captions of a picture set, once; a blank one is a picture without a caption."""
        distinct, indices = distinct_captions(captions)
        if not distinct:
            return CaptionJudge(semantics=self, caption_indices=indices, candidates={})
        device = self.class_posterior.classes.device
        features = caption_features(distinct, text=self.text).to(device)
        with torch.no_grad():
            candidates = {
                "two_tower": self.two_tower.embed_captions(features),
                "class_posterior": self.class_posterior.embed_captions(features),
            }
        return CaptionJudge(semantics=self, caption_indices=indices, candidates=candidates)


@dataclass(frozen=True, kw_only=True)
class CaptionJudge:
    """The captions of one picture set, read and ready to compare pictures with.

    Attributes:
        semantics: the judges.
        caption_indices: index of each picture's caption among the distinct ones (n,); -1 without a caption.
        candidates: unit vectors (m, e) of the m distinct captions, by judge.
    """

    semantics: Semantics
    caption_indices: Int[Tensor, "n"]
    candidates: Mapping[str, Float[Tensor, "m _"]]

    @torch.no_grad()
    def measure(
        self, indices: Int[Tensor, "b"], pictures: ImageFeatures, originals: ImageFeatures | None = None
    ) -> dict[str, Float[Tensor, "b"]]:
        """Retrieval (0 or 1), alignment (cosine), and agreement with the originals (0 to 1), by metric name.

        Args:
            indices: positions of the pictures in the set; those without a caption have NaN for the first two.
            pictures: their features, by ``semantics.network``.
            originals: features of the originals, to compare the class posteriors; None leaves that out.
        """
        columns = {}
        rows = self.caption_indices[indices].to(pictures.pooled.device)
        for name, captions in self.candidates.items():
            vectors, target = self._embed(name, pictures), rows.clamp(min=0)
            first = (ranks_of_own(vectors, captions, target) == 0).float()
            columns[f"retrieval_{name}_r1"] = first.masked_fill(rows < 0, torch.nan)
            alignment = (vectors * captions[target]).sum(dim=1)
            columns[f"alignment_{name}"] = alignment.masked_fill(rows < 0, torch.nan)
        if originals is not None:
            name, logits = self.semantics.network.name, (_logits(pictures), _logits(originals))
            columns[f"posterior_agreement_{name}"] = posterior_agreement(*logits)
            columns[f"top1_agreement_{name}"] = top1_agreement(*logits)
        return columns

    def _embed(self, name: str, features: ImageFeatures) -> Float[Tensor, "b _"]:
        if name == "two_tower":
            return self.semantics.two_tower.embed_images(features.pooled)
        return self.semantics.class_posterior.embed_images(_logits(features))


def posterior_agreement(a: Float[Tensor, "b n"], b: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
    """1 - total variation distance of two class posteriors given as logits: 0 when disjoint, 1 when equal.

    The same as the sum over classes of the smaller of the two probabilities.
    """
    return torch.minimum(a.float().softmax(dim=1), b.float().softmax(dim=1)).sum(dim=1).clamp(max=1)


def top1_agreement(a: Float[Tensor, "b n"], b: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
    """1 where both logits have the same most likely class, else 0."""
    return (a.argmax(dim=1) == b.argmax(dim=1)).float()


def _logits(features: ImageFeatures) -> Float[Tensor, "b n"]:
    if features.logits is None:
        raise ValueError("semantics: the feature network gives no logits, expected one with a classifier")
    return features.logits
