"""What a tokenizer's training pass hands to the losses."""

from dataclasses import dataclass, field

from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A decoder's estimates of clean pictures.

    Attributes:
        images: (b, 3, h, w) on the scale [-1, 1], not clamped.
        times: (b,), share of noise in the pictures that the decoder saw, from 0 to 1; None for a decoder that
            sees no noisy pictures.
        is_direct: (b,), True for rows decoded without a noisy picture; None when all are.
    """

    images: Float[Tensor, "b 3 h w"]
    times: Float[Tensor, "b"] | None = None
    is_direct: Bool[Tensor, "b"] | None = None


@dataclass(frozen=True)
class TrainingPass:
    """One pass through encoder, bottleneck and decoder.

    Attributes:
        estimate: what the decoder returned.
        latents: (b, k, c), what the decoder read.
        bottleneck_loss: scalar, weighted.
        statistics: scalars of the bottleneck for the log.
    """

    estimate: Estimate
    latents: Float[Tensor, "b k c"]
    bottleneck_loss: Float[Tensor, ""]
    statistics: dict[str, Tensor] = field(default_factory=dict)

    @property
    def images(self) -> Float[Tensor, "b 3 h w"]:
        """Estimates of the clean pictures."""
        return self.estimate.images
