"""What all decoders share: the two calls."""

from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from textok.models.text import TextCondition
from textok.objectives import Estimate
from textok.sampling.random import Random


class Decoder(Protocol):
    """The protocol of the modules in this package.

    Attributes:
        last_layer: the weight that makes the pixels; the adaptive weight of a GAN loss is measured there.
    """

    @property
    def last_layer(self) -> Tensor:
        """The weight that makes the pixels."""
        ...

    def __call__(
        self,
        latents: Float[Tensor, "b k c"],
        text: TextCondition | None,
        *,
        images: Float[Tensor, "b 3 h w"],
        grid: tuple[int, int],
        mask: Bool[Tensor, "b k"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        """The training pass: estimates of ``images``, with what the losses must know of them.

        ``mask`` is False at the tail of rows with a smaller budget; a decoder may draw from ``generator``.
        """
        ...

    def decode(
        self,
        latents: Float[Tensor, "b k c"],
        text: TextCondition | None,
        *,
        grid: tuple[int, int],
        mask: Bool[Tensor, "b k"] | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        start: float | None = None,
        generator: Random | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Pictures on the scale [-1, 1], not clamped; see ``TexTok.decode`` for the settings."""
        ...
