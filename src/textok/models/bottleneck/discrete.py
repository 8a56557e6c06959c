"""Integer codes: finite scalars (fsq) and a codebook of vectors (vq)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from textok.checks import check
from textok.models.bottleneck.protocol import BottleneckOutput, masked_mean


def _code_statistics(counts: Float[Tensor, "n"]) -> dict[str, Tensor]:
    """Perplexity and share of codes used, from how often each code was chosen in the batch of all ranks."""
    shares = counts / counts.sum().clamp(min=1)
    perplexity = (-(shares * shares.clamp(min=1e-12).log()).sum()).exp()
    return {"perplexity": perplexity, "batch_usage": (counts > 0).float().mean()}


def _straight_through(
    value: Float[Tensor, "b k c"], carrier: Float[Tensor, "b k c"]
) -> Float[Tensor, "b k c"]:
    """Exactly ``value``, with the gradient of ``carrier``."""
    return value.detach() + (carrier - carrier.detach())


def _unmasked(values: Shaped[Tensor, "b k *c"], mask: Bool[Tensor, "b k"] | None) -> Shaped[Tensor, "m *c"]:
    return values.flatten(0, 1) if mask is None else values[mask]


def _count_codes(
    codes: Int[Tensor, "b k"], mask: Bool[Tensor, "b k"] | None, num_codes: int
) -> Float[Tensor, "n"]:
    counts = torch.bincount(_unmasked(codes, mask), minlength=num_codes).float()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(counts)
    return counts


@dataclass(frozen=True, kw_only=True)
class FSQConfig:
    """Finite scalar quantization (Mentzer et al. 2024, arXiv 2309.15505): one rounded scalar per channel."""

    kind: ClassVar[str] = "fsq"
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
        mask: Bool[Tensor, "b k"] | None = None,
        generator: torch.Generator | None = None,
    ) -> BottleneckOutput:
        """Round in fp32; latents lie in [-1, 1] per channel."""
        bounded = self.bound(states.float())
        digits = bounded.round()
        codes = ((digits + self.levels // 2).long() * self.strides).sum(-1)
        counts = _count_codes(codes, mask, self.num_codes) if self.training else None
        return BottleneckOutput(
            latents=_straight_through(digits, bounded) / (self.levels // 2),
            loss=states.new_zeros((), dtype=torch.float32),
            codes=codes,
            statistics={} if counts is None else _code_statistics(counts),
        )

    def bound(self, z: Float[Tensor, "b k c"]) -> Float[Tensor, "b k c"]:
        """Squash channel i into the span whose roundings are exactly ``levels[i]`` integers.

        As in the paper's appendix, but for the shift of even levels: the inverse of tanh, where the listing
        has the tangent, so that 0 stays 0.
        """
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
    """Vector quantization with low-dimensional, l2-normalised codes (Yu et al. 2022, arXiv 2110.04627).

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
        check(self, "bottleneck", "codebook_size", "latent_dim", at_least=2)
        check(self, "bottleneck", "commitment", "weight", "revive_below", at_least=0)
        check(self, "bottleneck", "usage_decay", at_least=0, below=1)

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
        mask: Bool[Tensor, "b k"] | None = None,
        generator: torch.Generator | None = None,
    ) -> BottleneckOutput:
        """Quantize in fp32; autocast is off here, since cosines in 16 bits pick wrong neighbours."""
        with torch.autocast(states.device.type, enabled=False):
            z = F.normalize(states.float(), dim=-1)
            book = F.normalize(self.codebook.float().clone(), dim=-1)  # a copy: revive() writes in place
            codes = (z.detach() @ book.detach().T).argmax(-1)  # (b k)
            quantized = F.embedding(codes, book)
            pull = (quantized - z.detach()).square().sum(-1)
            commit = (quantized.detach() - z).square().sum(-1)
            loss = masked_mean(pull + self.config.commitment * commit, mask)
        statistics = {}
        if self.training:
            counts = _count_codes(codes, mask, self.num_codes)
            statistics = {
                **_code_statistics(counts),
                "revived": self.revive(_unmasked(z.detach(), mask), counts, generator=generator),
            }
        return BottleneckOutput(
            latents=_straight_through(quantized, z),
            loss=self.config.weight * loss,
            codes=codes,
            statistics=statistics,
        )

    @torch.no_grad()
    def revive(
        self,
        candidates: Float[Tensor, "m c"],
        counts: Float[Tensor, "n"],
        *,
        generator: torch.Generator | None,
    ) -> Float[Tensor, ""]:
        """Track usage and move dead codes onto ``candidates``, outputs of the encoder; returns how many."""
        share = counts / counts.sum().clamp(min=1) * self.num_codes
        self.usage.lerp_(share, 1 - self.config.usage_decay)
        draw = torch.randint(
            len(candidates),
            (self.num_codes,),
            generator=generator,
            device=None if generator is None else generator.device,
        )
        fresh = candidates[draw.to(candidates.device)]
        if dist.is_available() and dist.is_initialized():
            dist.broadcast(fresh, src=0)  # every rank takes rank 0's vectors, so that replicas stay equal
        # A code must never become NaN: the step that brought it is skipped, the codebook stays.
        dead = (self.usage < self.config.revive_below) & fresh.isfinite().all(dim=-1)
        self.codebook.copy_(torch.where(dead[:, None], fresh.to(self.codebook.dtype), self.codebook))
        self.usage.masked_fill_(dead, 1.0)
        return dead.sum().float()

    def latents_of(self, codes: Int[Tensor, "b k"]) -> Float[Tensor, "b k c"]:
        """Unit vectors of the codes."""
        _check_codes(codes, self.num_codes)
        return F.embedding(codes, F.normalize(self.codebook.float(), dim=-1))


def _check_codes(codes: Int[Tensor, "b k"], num_codes: int) -> None:
    if torch.compiler.is_compiling():  # an error cannot depend on values there
        return
    if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= num_codes):
        raise ValueError(
            f"codes: got values in [{int(codes.min())}, {int(codes.max())}], expected [0, {num_codes - 1}]"
        )
