"""Continuous latents: plain (ae), Gaussian (kl) and normalised (norm)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from textok.checks import check
from textok.models.bottleneck.protocol import BottleneckOutput, masked_mean


@dataclass(frozen=True, kw_only=True)
class AEConfig:
    """Plain autoencoder latents, as the losses of the paper read: no constraint."""

    kind: ClassVar[str] = "ae"
    latent_dim: int = 8

    def __post_init__(self) -> None:
        check(self, "bottleneck", "latent_dim", at_least=1)

    def build(self) -> "AutoencoderBottleneck":
        """The module of this configuration."""
        return AutoencoderBottleneck(self)


class _Continuous(nn.Module):
    num_codes: int | None = None

    def latents_of(self, codes: Int[Tensor, "b k"]) -> Float[Tensor, "b k c"]:
        raise ValueError(
            f"tokens: got integer codes of shape {tuple(codes.shape)}, expected float latents (b, k, c): "
            "this tokenizer is continuous"
        )


class AutoencoderBottleneck(_Continuous):
    """Latents as they come."""

    def __init__(self, config: AEConfig) -> None:
        super().__init__()
        self.input_dim = self.latent_dim = config.latent_dim

    def forward(
        self,
        states: Float[Tensor, "b k i"],
        *,
        mask: Bool[Tensor, "b k"] | None = None,
        generator: torch.Generator | None = None,
    ) -> BottleneckOutput:
        """Pass the states through."""
        return BottleneckOutput(latents=states.float(), loss=states.new_zeros((), dtype=torch.float32))


@dataclass(frozen=True, kw_only=True)
class KLConfig:
    """Diagonal Gaussian latents (Kingma and Welling 2014).

    ``weight`` is the price, in squared error per pixel value, of one nat per token channel present and
    averaged over the batch; a mean, so it keeps its meaning when resolution, k or batch change.
    ``initial_log_variance`` starts the noise near zero, so that early learning is not drowned in it.
    """

    kind: ClassVar[str] = "kl"
    latent_dim: int = 8
    weight: float = 2.5e-4
    initial_log_variance: float = -6.0

    def __post_init__(self) -> None:
        check(self, "bottleneck", "latent_dim", at_least=1)
        check(self, "bottleneck", "weight", at_least=0)

    def build(self) -> "GaussianBottleneck":
        """The module of this configuration."""
        return GaussianBottleneck(self)


class GaussianBottleneck(_Continuous):
    """Mean and log-variance; a sample in training, the mean in evaluation."""

    def __init__(self, config: KLConfig) -> None:
        super().__init__()
        self.config = config
        self.latent_dim, self.input_dim = config.latent_dim, 2 * config.latent_dim

    def forward(
        self,
        states: Float[Tensor, "b k i"],
        *,
        mask: Bool[Tensor, "b k"] | None = None,
        generator: torch.Generator | None = None,
    ) -> BottleneckOutput:
        """Sample (training) or take the mean; the maths is in fp32."""
        mean, log_variance = states.float().chunk(2, dim=-1)
        log_variance = (log_variance + self.config.initial_log_variance).clamp(-20, 10)
        nats = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)  # (b k c)
        kl = masked_mean(nats.mean(-1), mask)
        latents = mean
        if self.training:
            noise = torch.randn(mean.shape, generator=generator, device=mean.device)
            latents = mean + (0.5 * log_variance).exp() * noise
        statistics = {"kl_nats_per_channel": kl.detach()}
        return BottleneckOutput(
            latents=latents, loss=self.config.weight * kl, log_variance=log_variance, statistics=statistics
        )


@dataclass(frozen=True, kw_only=True)
class NormConfig:
    """Latents of zero mean and unit variance per token, with noise in training (DiTo: Chen et al. 2025, 2501.18593).

    ``noise`` is the standard deviation of that noise: without it, a few numbers could hold any amount of detail.
    """

    kind: ClassVar[str] = "norm"
    latent_dim: int = 16
    noise: float = 0.2

    def __post_init__(self) -> None:
        check(self, "bottleneck", "latent_dim", at_least=2)
        check(self, "bottleneck", "noise", at_least=0)

    def build(self) -> "NormBottleneck":
        """The module of this configuration."""
        return NormBottleneck(self)


class NormBottleneck(_Continuous):
    """Layer normalisation without learned scale; noise in training, none in evaluation."""

    def __init__(self, config: NormConfig) -> None:
        super().__init__()
        self.config = config
        self.input_dim = self.latent_dim = config.latent_dim

    def forward(
        self,
        states: Float[Tensor, "b k i"],
        *,
        mask: Bool[Tensor, "b k"] | None = None,
        generator: torch.Generator | None = None,
    ) -> BottleneckOutput:
        """Normalise in fp32."""
        latents = nn.functional.layer_norm(states.float(), (self.latent_dim,))
        if self.training and self.config.noise:
            noise = torch.randn(latents.shape, generator=generator, device=latents.device)
            latents = latents + self.config.noise * noise
        return BottleneckOutput(latents=latents, loss=states.new_zeros((), dtype=torch.float32))
