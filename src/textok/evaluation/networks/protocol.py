"""The interface of a feature network to the metrics."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate


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


@runtime_checkable
class FeatureNetwork(Protocol):
    """A frozen network that metrics read pictures with; ``name`` becomes part of the metrics' names."""

    name: str
    dim: int

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> ImageFeatures:
        """Features of uint8 pictures."""
        ...


class Enlarged(nn.Module):
    """A feature network that reads pictures after bicubic enlargement of their shorter side to ``side`` pixels.

    A network trained at 260 px sees little in 64 px. It keeps its name, as Inception does, which enlarges to 299 px:
    report the side beside the scores. Larger pictures are left as they are.
    """

    def __init__(self, network: FeatureNetwork, *, side: int) -> None:
        super().__init__()
        self.network, self.side = network, side
        self.name, self.dim = network.name, network.dim

    @torch.no_grad()
    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> ImageFeatures:
        """Features of uint8 pictures."""
        shorter = min(images.shape[-2:])
        if shorter >= self.side:
            return self.network(images)
        larger = interpolate(images.float(), scale_factor=self.side / shorter, mode="bicubic")
        return self.network(larger.round().clamp(0, 255).to(torch.uint8))
