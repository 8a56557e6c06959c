"""Pixel losses between images and their reconstructions."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def l2_loss(images: Float[Tensor, "b ch h w"], targets: Float[Tensor, "b ch h w"]) -> Float[Tensor, ""]:
    """Mean squared error per element, computed in fp32.

    The mean runs over batch, channels and pixels, so a weight keeps its meaning at any resolution and batch
    size.

    Args:
        images: reconstructions, [-1, 1] (not clamped).
        targets: originals, [-1, 1].
    """
    return F.mse_loss(images.float(), targets.float())


def l1_loss(images: Float[Tensor, "b ch h w"], targets: Float[Tensor, "b ch h w"]) -> Float[Tensor, ""]:
    """Mean absolute error per element, computed in fp32; normalised like `l2_loss`.

    Args:
        images: reconstructions, [-1, 1] (not clamped).
        targets: originals, [-1, 1].
    """
    return F.l1_loss(images.float(), targets.float())
