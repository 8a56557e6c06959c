"""The two scales of pixels: uint8 from 0 to 255 in files and metrics, floats in [-1, 1] in models."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

UINT8_RULE = "round(clamp((x + 1) * 127.5, 0, 255))"
"""How records name the rule of ``to_uint8``."""


def to_unit(pixels: UInt8[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 3 h w"]:
    """uint8 pixels (0..255) as float32 in [-1, 1]: x / 127.5 - 1."""
    return pixels.float().div_(127.5).sub_(1)


def to_uint8(images: Float[Tensor, "*b c h w"]) -> UInt8[Tensor, "*b c h w"]:
    """Pictures in [-1, 1] as uint8 pixels: round((x + 1) * 127.5), values outside clamped."""
    return images.float().add(1).mul_(127.5).clamp_(0, 255).round_().to(torch.uint8)
