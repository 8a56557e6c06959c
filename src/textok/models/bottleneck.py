"""What sits between encoder and decoder: plain (ae), Gaussian (kl), finite scalar (fsq) or vector (vq).

Every bottleneck maps encoder outputs (b, k, ``input_dim``) to latents (b, k, ``latent_dim``) and says what
that cost. Axes: b batch, k latent tokens, c latent channels, n codebook entries.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


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


def _mean_over_present(
    values: Float[Tensor, "b k"], present: Bool[Tensor, "b k"] | None
) -> Float[Tensor, ""]:
    if present is None:
        return values.mean()
    return (values * present).sum() / present.sum().clamp(min=1)


# --- continuous -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class AEConfig:
    """Plain autoencoder latents, as the losses of the paper read: no constraint."""

    kind: ClassVar[str] = "ae"
    latent_dim: int = 8

    def __post_init__(self) -> None:
        if self.latent_dim < 1:
            raise ValueError(f"bottleneck.latent_dim: got {self.latent_dim}, expected at least 1")

    def build(self) -> "AutoencoderBottleneck":
        """The module of this configuration."""
        return AutoencoderBottleneck(self)


class _Continuous(nn.Module):
    num_codes: int | None = None

    def latents_of(self, codes: Int[Tensor, "b k"]) -> Float[Tensor, "b k c"]:
        raise ValueError(
            f"got integer codes of shape {tuple(codes.shape)}, but this tokenizer is continuous: "
            "pass float latents (b, k, c)"
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
        present: Bool[Tensor, "b k"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Bottled:
        """Pass the states through."""
        return Bottled(latents=states.float(), loss=states.new_zeros((), dtype=torch.float32))


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
        if self.latent_dim < 1:
            raise ValueError(f"bottleneck.latent_dim: got {self.latent_dim}, expected at least 1")
        if self.weight < 0:
            raise ValueError(f"bottleneck.weight: got {self.weight}, expected 0 or more")

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
        present: Bool[Tensor, "b k"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Bottled:
        """Sample (training) or take the mean; the maths is in fp32."""
        mean, log_variance = states.float().chunk(2, dim=-1)
        log_variance = (log_variance + self.config.initial_log_variance).clamp(-20, 10)
        nats = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)  # (b k c)
        kl = _mean_over_present(nats.mean(-1), present)
        latents = mean
        if self.training:
            noise = torch.randn(mean.shape, generator=generator, device=mean.device)
            latents = mean + (0.5 * log_variance).exp() * noise
        statistics = {"kl_nats_per_channel": kl.detach()}
        return Bottled(
            latents=latents,
            loss=self.config.weight * kl,
            log_variance=log_variance,
            statistics=statistics,
        )


# --- discrete -------------------------------------------------------------------------------------------


def _code_statistics(counts: Float[Tensor, "n"]) -> dict[str, Tensor]:  # noqa: F821
    """Perplexity and share of codes used, from how often each code was chosen in the batch of all ranks."""
    shares = counts / counts.sum().clamp(min=1)
    perplexity = (-(shares * shares.clamp(min=1e-12).log()).sum()).exp()
    return {"perplexity": perplexity, "batch_usage": (counts > 0).float().mean()}


def _count_codes(
    codes: Int[Tensor, "b k"], present: Bool[Tensor, "b k"] | None, num_codes: int
) -> Float[Tensor, "n"]:  # noqa: F821
    chosen = codes if present is None else codes[present]
    counts = torch.bincount(chosen.flatten(), minlength=num_codes).float()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(counts)
    return counts


@dataclass(frozen=True, kw_only=True)
class FSQConfig:
    """Finite scalar quantization (Mentzer et al. 2024, arXiv 2309.15505): one rounded scalar a channel."""

    kind: ClassVar[str] = "fsq"
    levels: tuple[int, ...] = (8, 8, 8, 5, 5, 5)

    def __post_init__(self) -> None:
        if not self.levels or min(self.levels) < 2:
            raise ValueError(
                f"bottleneck.levels: got {self.levels}, expected one or more numbers of at least 2"
            )
        if math.prod(self.levels) > 2**24:
            raise ValueError(
                f"bottleneck.levels: {self.levels} make over 2^24 codes; use fewer or smaller levels"
            )

    @property
    def latent_dim(self) -> int:
        """One channel a level."""
        return len(self.levels)

    def build(self) -> "FiniteScalarBottleneck":
        """The module of this configuration."""
        return FiniteScalarBottleneck(self)


class FiniteScalarBottleneck(nn.Module):
    """Bounds each channel, rounds it to its levels, and passes the gradient straight through."""

    levels: Tensor
    strides: Tensor

    def __init__(self, config: FSQConfig) -> None:
        super().__init__()
        self.input_dim = self.latent_dim = config.latent_dim
        self.num_codes: int = math.prod(config.levels)
        levels = torch.tensor(config.levels)
        strides = torch.cumprod(torch.tensor((1, *config.levels[:-1])), dim=0)
        self.register_buffer("levels", levels, persistent=False)
        self.register_buffer("strides", strides, persistent=False)

    def forward(
        self,
        states: Float[Tensor, "b k i"],
        *,
        present: Bool[Tensor, "b k"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Bottled:
        """Round in fp32; latents lie in [-1, 1] per channel."""
        bounded = self.bound(states.float())
        digits = bounded.round()
        rounded = bounded + (digits - bounded).detach()
        codes = ((digits + self.levels // 2).long() * self.strides).sum(-1)
        counts = _count_codes(codes, present, self.num_codes) if self.training else None
        return Bottled(
            latents=rounded / (self.levels // 2),
            loss=states.new_zeros((), dtype=torch.float32),
            codes=codes,
            statistics={} if counts is None else _code_statistics(counts),
        )

    def bound(self, z: Float[Tensor, "b k c"]) -> Float[Tensor, "b k c"]:
        """Squash channel i into the span whose roundings are exactly ``levels[i]`` integers."""
        half = (self.levels - 1) * (1 - 1e-3) / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        shift = (offset / half).atanh()
        return (z + shift).tanh() * half - offset

    def latents_of(self, codes: Int[Tensor, "b k"]) -> Float[Tensor, "b k c"]:
        """Mixed-radix digits of the codes, scaled as in ``forward``."""
        _check_codes(codes, self.num_codes)
        digits = (codes[..., None] // self.strides) % self.levels
        half = self.levels // 2
        return (digits - half) / half


@dataclass(frozen=True, kw_only=True)
class VQConfig:
    """Vector quantization in the ViT-VQGAN form (Yu et al. 2022, arXiv 2110.04627): low-dimensional, l2-normalised.

    Codes that fewer than ``revive_below`` of an even share of tokens choose are moved onto encoder outputs.
    """

    kind: ClassVar[str] = "vq"
    codebook_size: int = 4096
    latent_dim: int = 8
    commitment: float = 0.25
    weight: float = 1.0
    revive_below: float = 0.03
    usage_decay: float = 0.99

    def __post_init__(self) -> None:
        if self.codebook_size < 2 or self.latent_dim < 2:
            raise ValueError(
                f"bottleneck: got codebook_size {self.codebook_size} and latent_dim {self.latent_dim}, "
                "expected at least 2 of each"
            )
        if not 0 <= self.usage_decay < 1:
            raise ValueError(f"bottleneck.usage_decay: got {self.usage_decay}, expected a number in [0, 1)")

    def build(self) -> "VectorBottleneck":
        """The module of this configuration."""
        return VectorBottleneck(self)


class VectorBottleneck(nn.Module):
    """Nearest code on the unit sphere; the codebook learns by gradient, so that ranks agree by DDP alone."""

    usage: Tensor

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.config = config
        self.input_dim = self.latent_dim = config.latent_dim
        self.num_codes: int = config.codebook_size
        self.codebook = nn.Parameter(
            F.normalize(torch.randn(config.codebook_size, config.latent_dim), dim=-1)
        )
        self.register_buffer("usage", torch.ones(config.codebook_size))  # 1 = an even share

    def forward(
        self,
        states: Float[Tensor, "b k i"],
        *,
        present: Bool[Tensor, "b k"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Bottled:
        """Quantize in fp32; autocast is off here, since cosines in 16 bits pick wrong neighbours."""
        with torch.autocast(states.device.type, enabled=False):
            z = F.normalize(states.float(), dim=-1)
            book = F.normalize(self.codebook.float().clone(), dim=-1)  # a copy: revive() writes in place
            codes = (z.detach() @ book.detach().T).argmax(-1)  # (b k)
            quantized = F.embedding(codes, book)
            pull = (quantized - z.detach()).square().sum(-1)
            commit = (quantized.detach() - z).square().sum(-1)
            loss = _mean_over_present(pull + self.config.commitment * commit, present)
        statistics = {}
        if self.training:
            counts = _count_codes(codes, present, self.num_codes)
            statistics = {
                **_code_statistics(counts),
                "revived": self.revive(z, counts, generator),
            }
        return Bottled(
            latents=z + (quantized - z).detach(),
            loss=self.config.weight * loss,
            codes=codes,
            statistics=statistics,
        )

    @torch.no_grad()
    def revive(
        self,
        z: Float[Tensor, "b k c"],
        counts: Float[Tensor, "n"],  # noqa: F821
        generator: torch.Generator | None,
    ) -> Float[Tensor, ""]:
        """Track usage and move dead codes onto encoder outputs drawn from this batch; returns how many."""
        share = counts / counts.sum().clamp(min=1) * self.num_codes
        self.usage.lerp_(share, 1 - self.config.usage_decay)
        dead = self.usage < self.config.revive_below
        candidates = z.flatten(0, 1)
        draw = torch.randint(
            len(candidates),
            (self.num_codes,),
            generator=generator,
            device=None if generator is None else generator.device,
        )
        fresh = candidates[draw.to(z.device)]
        if dist.is_available() and dist.is_initialized():
            dist.broadcast(fresh, src=0)  # every rank takes rank 0's vectors, so that replicas stay equal
        self.codebook.copy_(torch.where(dead[:, None], fresh.to(self.codebook.dtype), self.codebook))
        self.usage.masked_fill_(dead, 1.0)
        return dead.sum().float()

    def latents_of(self, codes: Int[Tensor, "b k"]) -> Float[Tensor, "b k c"]:
        """Unit vectors of the codes."""
        _check_codes(codes, self.num_codes)
        return F.embedding(codes, F.normalize(self.codebook.float(), dim=-1))


def _check_codes(codes: Int[Tensor, "b k"], num_codes: int) -> None:
    if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= num_codes):
        raise ValueError(
            f"codes: got values in [{int(codes.min())}, {int(codes.max())}], expected [0, {num_codes - 1}]"
        )


BottleneckConfig = AEConfig | KLConfig | FSQConfig | VQConfig
