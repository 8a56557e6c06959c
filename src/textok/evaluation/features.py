"""Features of whole picture sets: pictures stream through the networks, one vector per picture is kept."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from textok.data.samples import Batch
from textok.evaluation.metrics.frechet import FeatureStatistics
from textok.evaluation.metrics.semantics import Semantics, load_semantics
from textok.evaluation.networks import FeatureNetwork, ImageFeatures
from textok.evaluation.protocol import protocol


@dataclass(frozen=True, kw_only=True)
class PictureFeatures:
    """Features of a set of pictures, in their order, in main memory.

    Attributes:
        keys: names of the n pictures.
        captions: their captions; "" for none.
        pooled: one vector per picture.
        logits: output of the network's classifier; None where the network has none.
        meaning: features by the network of the caption judges; None when captions are not judged.
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
class FeatureReader:
    """The networks that read pictures as sets.

    Attributes:
        network: computes the features of the distances.
        semantics: judges of captions, or None.
        device: where the networks run.
    """

    network: FeatureNetwork
    semantics: Semantics | None = None
    device: torch.device | str = "cpu"

    @classmethod
    def load(
        cls, network: FeatureNetwork, *, semantics: bool, device: torch.device | str = "cpu"
    ) -> "FeatureReader":
        """Load the judges of captions where asked; ``network`` is on the device already."""
        judges = load_semantics(network, device) if semantics else None
        return cls(network=network, semantics=judges, device=device)

    @property
    def settings(self) -> dict[str, Any]:
        """What the numbers depend on besides the pictures."""
        return {"task": "generation"} | protocol(self.network, self.semantics)

    def read(
        self,
        batches: Iterable[Batch],
        *,
        judged: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> PictureFeatures:
        """Run the networks over pictures.

        Args:
            batches: the pictures; a batch has one size, and all should have the same.
            judged: whether captions are judged, by a network that runs too when it is another one.
            progress: is called after every batch with its number of pictures.

        Raises:
            ValueError: when there is no picture.
        """
        keys: list[str] = []
        captions: list[str] = []
        parts: list[ImageFeatures] = []
        meanings: list[ImageFeatures] = []
        for batch in batches:
            images = batch.images.to(self.device)
            features = self.network(images)
            parts.append(_in_main_memory(features))
            if judged and self.semantics is not None:
                meaning = self.semantics.features(images, known=features, by=self.network)
                meanings.append(_in_main_memory(meaning))
            keys += batch.keys
            captions += batch.captions
            if progress is not None:
                progress(len(batch))
        if not parts:
            raise ValueError("features: got no picture, expected at least 1")
        whole = _joined(parts)
        return PictureFeatures(
            keys=tuple(keys),
            captions=tuple(captions),
            pooled=whole.pooled,
            logits=whole.logits,
            meaning=_joined(meanings) if meanings else None,
        )


def _in_main_memory(features: ImageFeatures) -> ImageFeatures:
    """Without the feature maps, which would fill the memory."""
    logits = None if features.logits is None else features.logits.float().cpu()
    return ImageFeatures(pooled=features.pooled.float().cpu(), logits=logits)


def _joined(parts: Sequence[ImageFeatures]) -> ImageFeatures:
    logits = [part.logits for part in parts if part.logits is not None]
    return replace(
        parts[0],
        pooled=torch.cat([part.pooled for part in parts]),
        logits=torch.cat(logits) if len(logits) == len(parts) else None,
    )
