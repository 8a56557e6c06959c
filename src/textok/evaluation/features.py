"""How every evaluation reads its pictures: the protocol in words, and features of whole picture sets."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from textok.data.samples import Batch
from textok.evaluation.alignment import Semantics
from textok.evaluation.metrics import PictureValues
from textok.evaluation.metrics.frechet import FeatureStatistics
from textok.evaluation.networks import FeatureNetwork, ImageFeatures
from textok.pixels import UINT8_RULE

CROP = "short side resized to fit, centre crop"
FILTER = "lanczos"
WRONG_CAPTION = "that of the picture half the split further on, or the next that reads differently"


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
        """Run the networks over pictures; ``ValueError`` when there is no picture.

        Args:
            batches: the pictures; a batch has one size, and all should have the same.
            judged: whether captions are judged, by a network that runs too when it is another one.
            progress: is called after every batch with its number of pictures.
        """
        keys: list[str] = []
        captions: list[str] = []
        values = PictureValues()
        for batch in batches:
            images, indices = batch.images.to(self.device), torch.arange(len(batch)) + len(keys)
            features = self.network(images)
            columns = _columns("", features)
            if judged and self.semantics is not None:
                meaning = self.semantics.features(images, features=features, network=self.network)
                columns |= _columns("meaning_", meaning)
            values.add(indices, columns)
            keys += batch.keys
            captions += batch.captions
            if progress is not None:
                progress(len(batch))
        if not keys:
            raise ValueError("features: got no picture, expected at least 1")
        columns = values.in_order()
        meaning = None
        if "meaning_pooled" in columns:
            meaning = ImageFeatures(columns["meaning_pooled"], logits=columns.get("meaning_logits"))
        return PictureFeatures(
            keys=tuple(keys),
            captions=tuple(captions),
            pooled=columns["pooled"],
            logits=columns.get("logits"),
            meaning=meaning,
        )


def _columns(prefix: str, features: ImageFeatures) -> dict[str, Tensor]:
    """What is kept of a batch: not the feature maps, which would fill the memory."""
    columns = {f"{prefix}pooled": features.pooled.float()}
    return columns if features.logits is None else columns | {f"{prefix}logits": features.logits.float()}


def protocol(network: FeatureNetwork, semantics: Semantics | None) -> dict[str, str | None]:
    """What the numbers of an evaluation depend on besides the pictures and the model.

    Args:
        network: computes the distances.
        semantics: judges the captions; None where they are not judged.
    """
    return {
        "crop": CROP,
        "filter": FILTER,
        "uint8": UINT8_RULE,
        "feature_network": getattr(network, "description", network.name),
        "two_tower": None if semantics is None else semantics.two_tower.model_id,
    }
