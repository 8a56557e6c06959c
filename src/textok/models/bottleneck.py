"""The bottlenecks between encoder and decoder, continuous (ae, kl, norm) or discrete (fsq, vq).

Axes: b batch, k latent tokens, i channels that a bottleneck reads, c latent channels, n codebook entries.
"""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from textok.checks import check

__all__ = [
    "AEConfig", "AutoencoderBottleneck", "Bottleneck", "BottleneckConfig", "BottleneckOutput", "FSQConfig",
    "FiniteScalarBottleneck", "GaussianBottleneck", "KLConfig", "NormBottleneck", "NormConfig", "VQConfig",
    "VectorBottleneck",
]  # fmt: skip

States = Float[Tensor, "b k i"]
Latents = Float[Tensor, "b k c"]
Codes = Int[Tensor, "b k"]
Mask = Bool[Tensor, "b k"] | None
Draws = torch.Generator | None


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

    latents: Latents
    loss: Float[Tensor, ""]
    codes: Codes | None = None
    log_variance: Latents | None = None
    statistics: dict[str, Tensor] = field(default_factory=dict)


class Bottleneck(nn.Module):
    """Maps encoder outputs (b, k, ``input_dim``) to latents (b, k, ``latent_dim``), with the loss of doing so."""

    num_codes: int | None = None

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.input_dim = self.latent_dim = config.latent_dim

    def forward(self, states: States, *, mask: Mask = None, generator: Draws = None) -> BottleneckOutput:
        """Squeeze the states, in fp32; in training mode this may draw noise from ``generator``."""
        raise NotImplementedError

    def latents_of(self, codes: Codes) -> Latents:
        """Latents of integer codes; ``ValueError`` for codes out of range, and of a continuous bottleneck."""
        if self.num_codes is None:
            raise ValueError(
                f"tokens: got integer codes of shape {tuple(codes.shape)}, expected float latents (b, k, c): "
                "this tokenizer is continuous"
            )
        if not torch.compiler.is_compiling() and codes.numel():  # an error cannot depend on values there
            lowest, highest = int(codes.min()), int(codes.max())
            if lowest < 0 or highest >= self.num_codes:
                raise ValueError(
                    f"codes: got values in [{lowest}, {highest}], expected [0, {self.num_codes - 1}]"
                )
        return self._latents_of(codes)

    def _latents_of(self, codes: Codes) -> Latents:
        raise NotImplementedError


class _Config:
    module: ClassVar[type[Bottleneck]]

    def build(self) -> Bottleneck:
        """The module of this configuration."""
        return self.module(self)


def masked_mean(values: Float[Tensor, "b k"], mask: Mask) -> Float[Tensor, ""]:
    """Mean of one value per token over the tokens that are present (all of them without a mask)."""
    return values.mean() if mask is None else (values * mask).sum() / mask.sum().clamp(min=1)


# --- continuous latents -----------------------------------------------------------------------------------------


class AutoencoderBottleneck(Bottleneck):
    """Latents as they come."""

    def forward(self, states: States, *, mask: Mask = None, generator: Draws = None) -> BottleneckOutput:
        """Pass the states through."""
        return BottleneckOutput(latents=states.float(), loss=states.new_zeros((), dtype=torch.float32))


@dataclass(frozen=True, kw_only=True)
class AEConfig(_Config):
    """Plain autoencoder latents, as the losses of the paper read: no constraint."""

    kind: ClassVar[str] = "ae"
    module = AutoencoderBottleneck
    latent_dim: int = 8

    def __post_init__(self) -> None:
        check(self, "bottleneck", "latent_dim", at_least=1)


class GaussianBottleneck(Bottleneck):
    """Mean and log-variance; a sample in training, the mean in evaluation."""

    def __init__(self, config: "KLConfig") -> None:
        super().__init__(config)
        self.input_dim = 2 * config.latent_dim

    def forward(self, states: States, *, mask: Mask = None, generator: Draws = None) -> BottleneckOutput:
        """Sample (training) or take the mean; the maths is in fp32."""
        mean, log_variance = states.float().chunk(2, dim=-1)
        log_variance = (log_variance + self.config.initial_log_variance).clamp(-20, 10)
        nats = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)  # (b k c)
        kl = masked_mean(nats.mean(-1), mask)
        latents = mean
        if self.training:
            noise = torch.randn(mean.shape, generator=generator, device=mean.device)
            latents = mean + (0.5 * log_variance).exp() * noise
        loss, statistics = self.config.weight * kl, {"kl_nats_per_channel": kl.detach()}
        return BottleneckOutput(latents, loss, log_variance=log_variance, statistics=statistics)


@dataclass(frozen=True, kw_only=True)
class KLConfig(_Config):
    """Diagonal Gaussian latents (Kingma and Welling 2014).

    ``weight`` is the price, in squared error per pixel value, of one nat per token channel present and
    averaged over the batch; a mean, so it keeps its meaning when resolution, k or batch change.
    ``initial_log_variance`` starts the noise near zero, so that early learning is not drowned in it.
    """

    kind: ClassVar[str] = "kl"
    module = GaussianBottleneck
    latent_dim: int = 8
    weight: float = 2.5e-4
    initial_log_variance: float = -6.0

    def __post_init__(self) -> None:
        check(self, "bottleneck", "latent_dim", at_least=1)
        check(self, "bottleneck", "weight", at_least=0)


class NormBottleneck(Bottleneck):
    """Layer normalisation without learned scale; noise in training, none in evaluation."""

    def forward(self, states: States, *, mask: Mask = None, generator: Draws = None) -> BottleneckOutput:
        """Normalise in fp32."""
        latents = F.layer_norm(states.float(), (self.latent_dim,))
        if self.training and self.config.noise:
            noise = torch.randn(latents.shape, generator=generator, device=latents.device)
            latents = latents + self.config.noise * noise
        return BottleneckOutput(latents=latents, loss=states.new_zeros((), dtype=torch.float32))


@dataclass(frozen=True, kw_only=True)
class NormConfig(_Config):
    """Latents of zero mean and unit variance per token, with noise in training (DiTo: Chen et al. 2025, 2501.18593).

    ``noise`` is the standard deviation of that noise: without it, a few numbers could hold any amount of detail.
    """

    kind: ClassVar[str] = "norm"
    module = NormBottleneck
    latent_dim: int = 16
    noise: float = 0.2

    def __post_init__(self) -> None:
        check(self, "bottleneck", "latent_dim", at_least=2)
        check(self, "bottleneck", "noise", at_least=0)


# --- integer codes ----------------------------------------------------------------------------------------------


def _code_statistics(counts: Float[Tensor, "n"]) -> dict[str, Tensor]:
    """Perplexity and share of codes used, from how often each code was chosen in the batch of all ranks."""
    shares = counts / counts.sum().clamp(min=1)
    perplexity = (-(shares * shares.clamp(min=1e-12).log()).sum()).exp()
    return {"perplexity": perplexity, "batch_usage": (counts > 0).float().mean()}


def _straight_through(value: Latents, carrier: Latents) -> Latents:
    """Exactly ``value``, with the gradient of ``carrier``."""
    return value.detach() + (carrier - carrier.detach())


def _unmasked(values: Shaped[Tensor, "b k *c"], mask: Mask) -> Shaped[Tensor, "m *c"]:
    return values.flatten(0, 1) if mask is None else values[mask]


def _count_codes(codes: Codes, mask: Mask, num_codes: int) -> Float[Tensor, "n"]:
    counts = torch.bincount(_unmasked(codes, mask), minlength=num_codes).float()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(counts)
    return counts


class FiniteScalarBottleneck(Bottleneck):
    """Bounds each channel, rounds it to its levels, and passes the gradient straight through."""

    levels: Tensor
    strides: Tensor

    def __init__(self, config: "FSQConfig") -> None:
        super().__init__(config)
        self.num_codes: int = math.prod(config.levels)
        strides = torch.cumprod(torch.tensor((1, *config.levels[:-1])), dim=0)
        self.register_buffer("levels", torch.tensor(config.levels), persistent=False)
        self.register_buffer("strides", strides, persistent=False)

    def forward(self, states: States, *, mask: Mask = None, generator: Draws = None) -> BottleneckOutput:
        """Round in fp32; latents lie in [-1, 1] per channel."""
        bounded = self.bound(states.float())
        digits = bounded.round()
        codes = ((digits + self.levels // 2).long() * self.strides).sum(-1)
        latents = _straight_through(digits, bounded) / (self.levels // 2)
        statistics = _code_statistics(_count_codes(codes, mask, self.num_codes)) if self.training else {}
        loss = states.new_zeros((), dtype=torch.float32)
        return BottleneckOutput(latents=latents, loss=loss, codes=codes, statistics=statistics)

    def bound(self, z: Latents) -> Latents:
        """Squash channel i into the span whose roundings are exactly ``levels[i]`` integers.

        As in the paper's appendix, but the shift of even levels is by the inverse of tanh, not by tan: 0 stays 0.
        """
        half = (self.levels - 1) * (1 - 1e-3) / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        shift = (offset / half).atanh()
        return (z + shift).tanh() * half - offset

    def _latents_of(self, codes: Codes) -> Latents:
        digits = (codes[..., None] // self.strides) % self.levels  # of mixed radix
        return (digits - self.levels // 2) / (self.levels // 2)


@dataclass(frozen=True, kw_only=True)
class FSQConfig(_Config):
    """Finite scalar quantization (Mentzer et al. 2024, arXiv 2309.15505): one rounded scalar per channel."""

    kind: ClassVar[str] = "fsq"
    module = FiniteScalarBottleneck
    levels: tuple[int, ...] = (8, 8, 8, 5, 5, 5)

    def __post_init__(self) -> None:
        if not self.levels or min(self.levels) < 3 or max(self.levels) > 1000:
            raise ValueError(
                f"bottleneck.levels: got {self.levels}, expected one or more numbers from 3 to 1000"
            )
        if math.prod(self.levels) > 2**24:
            raise ValueError(
                f"bottleneck.levels: {self.levels} make over 2^24 codes; use fewer or smaller levels"
            )

    @property
    def latent_dim(self) -> int:
        """One channel per level."""
        return len(self.levels)


class VectorBottleneck(Bottleneck):
    """Nearest code on the unit sphere; the codebook learns by gradient, so that ranks agree by DDP alone."""

    usage: Tensor

    def __init__(self, config: "VQConfig") -> None:
        super().__init__(config)
        size = config.codebook_size
        self.num_codes: int = size
        self.codebook = nn.Parameter(F.normalize(torch.randn(size, config.latent_dim), dim=-1))
        self.register_buffer("usage", torch.ones(size))  # 1 = an even share

    def forward(self, states: States, *, mask: Mask = None, generator: Draws = None) -> BottleneckOutput:
        """Quantize in fp32; autocast is off here, since cosines in 16 bits pick wrong neighbours."""
        with torch.autocast(states.device.type, enabled=False):
            z = F.normalize(states.float(), dim=-1)
            book = F.normalize(self.codebook.float().clone(), dim=-1)  # a copy: revive() writes in place
            codes = (z.detach() @ book.detach().T).argmax(-1)  # (b k)
            quantized = F.embedding(codes, book)
            pull = (quantized - z.detach()).square().sum(-1)
            commit = (quantized.detach() - z).square().sum(-1)
            loss = self.config.weight * masked_mean(pull + self.config.commitment * commit, mask)
        latents, statistics = _straight_through(quantized, z), {}
        if self.training:
            counts = _count_codes(codes, mask, self.num_codes)
            revived = self.revive(_unmasked(z.detach(), mask), counts, generator=generator)
            statistics = {**_code_statistics(counts), "revived": revived}
        return BottleneckOutput(latents=latents, loss=loss, codes=codes, statistics=statistics)

    @torch.no_grad()
    def revive(
        self, candidates: Float[Tensor, "m c"], counts: Float[Tensor, "n"], *, generator: Draws
    ) -> Float[Tensor, ""]:
        """Track usage and move dead codes onto ``candidates``, outputs of the encoder; returns how many."""
        share = counts / counts.sum().clamp(min=1) * len(counts)
        self.usage.lerp_(share, 1 - self.config.usage_decay)
        device = None if generator is None else generator.device
        draw = torch.randint(len(candidates), counts.shape, generator=generator, device=device)
        fresh = candidates[draw.to(candidates.device)]
        if dist.is_available() and dist.is_initialized():
            dist.broadcast(fresh, src=0)  # every rank takes rank 0's vectors, so that replicas stay equal
        # A code must never become NaN: the step that brought it is skipped, the codebook stays.
        dead = (self.usage < self.config.revive_below) & fresh.isfinite().all(dim=-1)
        self.codebook.copy_(torch.where(dead[:, None], fresh.to(self.codebook.dtype), self.codebook))
        self.usage.masked_fill_(dead, 1.0)
        return dead.sum().float()

    def _latents_of(self, codes: Codes) -> Latents:
        return F.embedding(codes, F.normalize(self.codebook.float(), dim=-1))


@dataclass(frozen=True, kw_only=True)
class VQConfig(_Config):
    """Vector quantization with low-dimensional, l2-normalised codes (Yu et al. 2022, arXiv 2110.04627).

    Codes that fewer than ``revive_below`` of an even share of tokens choose are moved onto encoder outputs.
    """

    kind: ClassVar[str] = "vq"
    module = VectorBottleneck
    codebook_size: int = 4096
    latent_dim: int = 8
    commitment: float = 0.25
    weight: float = 1.0
    revive_below: float = 0.03
    usage_decay: float = 0.99

    def __post_init__(self) -> None:
        check(self, "bottleneck", "codebook_size", "latent_dim", at_least=2)
        check(self, "bottleneck", "commitment", "weight", "revive_below", at_least=0)
        check(self, "bottleneck", "usage_decay", at_least=0, below=1)


BottleneckConfig = AEConfig | KLConfig | NormConfig | FSQConfig | VQConfig
