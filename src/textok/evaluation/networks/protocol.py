"""The interface of a feature network to the metrics."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import normalize


@dataclass(frozen=True)
class ImageFeatures:
    """Features of a batch of pictures.

    Attributes:
        pooled: one vector per picture (b, d), for distances between sets of pictures.
        stages: feature maps from fine to coarse, each (b, c_i, h_i, w_i), for the perceptual distance; empty
            where the network has none.
        logits: its classifier's output (b, n), n classes; None where it has no classifier.
    """

    pooled: Float[Tensor, "b d"]
    stages: tuple[Float[Tensor, "b _ _ _"], ...] = ()
    logits: Float[Tensor, "b n"] | None = None

    @cached_property
    def unit_stages(self) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """The feature maps with the vector of every position scaled to unit length."""
        return tuple(normalize(stage, dim=1, eps=1e-6) for stage in self.stages)


@runtime_checkable
class FeatureNetwork(Protocol):
    """A frozen network that metrics read pictures with; ``name`` becomes part of the metrics' names."""

    name: str
    dim: int

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> ImageFeatures:
        """Features of uint8 pictures."""
        ...
