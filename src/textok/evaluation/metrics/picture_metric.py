"""What a metric of single pictures is: one value per reconstruction, computed from it and its original."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, UInt8
from torch import Tensor

from textok.evaluation.metrics.meaning import Meaning
from textok.evaluation.networks import FeatureNetwork, ImageFeatures


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """A batch of originals and reconstructions, both uint8, with their features.

    Attributes:
        originals: pictures, 0..255.
        reconstructions: their reconstructions, in the same order.
        original_features: of the originals, by ``network``.
        features: of the reconstructions.
        network: the feature network.
    """

    originals: UInt8[Tensor, "b 3 h w"]
    reconstructions: UInt8[Tensor, "b 3 h w"]
    original_features: ImageFeatures
    features: ImageFeatures
    network: FeatureNetwork


@dataclass(frozen=True, kw_only=True)
class PictureMetric:
    """A metric of single pictures; its module defines it, and ``PICTURE_METRICS`` lists it.

    Attributes:
        name: of the column in result files; a metric that a network computes gets ``_NETWORK`` appended.
        meaning: its name in words, its unit, and which way is better.
        measure: one value per pair.
        learned: whether the feature network computes it.
        applies: whether it can be computed for these pictures.
    """

    name: str
    meaning: Meaning
    measure: Callable[[Pairs], Float[Tensor, "b"]]
    learned: bool = False
    applies: Callable[[Pairs], bool] = lambda pairs: True

    def column(self, network: FeatureNetwork) -> str:
        """Name of the column in result files."""
        return f"{self.name}_{network.name}" if self.learned else self.name
