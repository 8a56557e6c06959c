"""Metrics as functions and mergeable sums; each names what it compares and with which network.

A metric of single pictures is a :class:`PictureMetric`: one value per reconstruction, from it and its original.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, UInt8
from torch import Tensor

from textok.evaluation.networks import FeatureNetwork, ImageFeatures


@dataclass(frozen=True)
class Meaning:
    """The meaning of a metric: its name in words, the unit on its axis, and whether higher is better (1), lower is
    better (-1), or it is a fact and not a score (0).
    """

    title: str
    unit: str
    better: int

    @property
    def advice(self) -> str:
        """The title, with which way is better."""
        return self.title + {1: ": higher is better", -1: ": lower is better", 0: ""}[self.better]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """A batch of originals and their reconstructions, both uint8, with the features of each by ``network``."""

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
