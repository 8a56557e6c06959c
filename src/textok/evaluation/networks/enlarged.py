"""Small pictures for a feature network that was made for larger ones."""

import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate

from textok.evaluation.networks.protocol import FeatureNetwork, ImageFeatures


class Enlarged(nn.Module):
    """A feature network that reads pictures after bicubic enlargement of their shorter side.

    A network trained at 260 px has little to say of 64 px. It keeps its name, as Inception does, which
    enlarges to 299 px: say the side beside the scores.

    Args:
        network: what reads the pictures.
        side: pixels that the shorter side is brought to; larger pictures are left as they are.
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
