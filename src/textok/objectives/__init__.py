"""Losses of the tokenizers and generators as plain torch, and what a training pass hands to them.

This package imports neither models nor data.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A decoder's estimates of clean pictures, on the scale [-1, 1], not clamped.

    Attributes:
        times: share of noise in the pictures that the decoder saw, from 0 to 1; None where it sees no noisy ones.
        is_direct: True for rows decoded without a noisy picture; None when all are.
    """

    images: Float[Tensor, "b 3 h w"]
    times: Float[Tensor, "b"] | None = None
    is_direct: Bool[Tensor, "b"] | None = None

    def direct_rows(self) -> Int[Tensor, "r"] | None:
        """The rows decoded without noise; None for all."""
        return None if self.is_direct is None else self.is_direct.nonzero()[:, 0]

    def noisy_rows(self, *, until: float = 1.0) -> Int[Tensor, "r"]:
        """The rows decoded from pictures with at most this share of noise."""
        if self.times is None or self.is_direct is None:
            return torch.zeros(0, dtype=torch.long, device=self.images.device)
        return (~self.is_direct & (self.times <= until)).nonzero()[:, 0]


@dataclass(frozen=True)
class TrainingPass:
    """One pass through encoder, bottleneck and decoder: what the decoder returned, and the latents that it read.

    ``bottleneck_loss`` is weighted, and ``statistics`` are those of the bottleneck for the log.
    """

    estimate: Estimate
    latents: Float[Tensor, "b k c"]
    bottleneck_loss: Float[Tensor, ""]
    statistics: dict[str, Tensor] = field(default_factory=dict)

    @property
    def images(self) -> Float[Tensor, "b 3 h w"]:
        """Estimates of the clean pictures."""
        return self.estimate.images
