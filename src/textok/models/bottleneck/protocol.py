"""The call that all bottlenecks share, and what it returns."""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class BottleneckOutput:
    """What a bottleneck returns.

    Attributes:
        latents: (b, k, c), what the decoder reads.
        loss: scalar, weighted; averaged over tokens that are present (kl: see ``KLConfig``).
        codes: (b, k) integers of a discrete bottleneck, else None.
        log_variance: (b, k, c) of a Gaussian bottleneck, else None.
        statistics: scalars for the log.
    """

    latents: Float[Tensor, "b k c"]
    loss: Float[Tensor, ""]
    codes: Int[Tensor, "b k"] | None = None
    log_variance: Float[Tensor, "b k c"] | None = None
    statistics: dict[str, Tensor] = field(default_factory=dict)


class Bottleneck(Protocol):
    """The protocol that all forms share."""

    input_dim: int
    latent_dim: int
    num_codes: int | None

    def __call__(
        self,
        states: Float[Tensor, "b k i"],
        *,
        mask: Bool[Tensor, "b k"] | None = None,
        generator: torch.Generator | None = None,
    ) -> BottleneckOutput:
        """Squeeze the states; in training mode this may draw noise from ``generator``."""
        ...

    def latents_of(self, codes: Int[Tensor, "b k"]) -> Float[Tensor, "b k c"]:
        """Latents of integer codes; a continuous bottleneck has none and raises ``ValueError``."""
        ...


def masked_mean(values: Float[Tensor, "b k"], mask: Bool[Tensor, "b k"] | None) -> Float[Tensor, ""]:
    """Mean of one value per token over the tokens that are present (all of them without a mask)."""
    if mask is None:
        return values.mean()
    return (values * mask).sum() / mask.sum().clamp(min=1)
