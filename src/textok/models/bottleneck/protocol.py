"""What the four bottlenecks share: the call, and what it returns."""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Bottled:
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
    """The protocol that the four forms share."""

    input_dim: int
    latent_dim: int
    num_codes: int | None

    def __call__(
        self,
        states: Float[Tensor, "b k i"],
        *,
        present: Bool[Tensor, "b k"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Bottled:
        """Squeeze the states; in training mode this may draw noise from ``generator``."""
        ...

    def latents_of(self, codes: Int[Tensor, "b k"]) -> Float[Tensor, "b k c"]:
        """Latents of integer codes; a continuous bottleneck has none and raises ``ValueError``."""
        ...


def mean_over_present(values: Float[Tensor, "b k"], present: Bool[Tensor, "b k"] | None) -> Float[Tensor, ""]:
    """Mean of one value a token over the tokens that are present (all of them without a mask)."""
    if present is None:
        return values.mean()
    return (values * present).sum() / present.sum().clamp(min=1)
