"""DiT over latent tokens: a diffusion transformer with patch size 1 (Peebles & Xie 2022, arXiv 2212.09748).

Axes: b batch, k latent tokens, K the most of them, t text tokens, s sequence, d width, c latent channels.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from textok.models.checkpoint import SHIPPED_GENERATORS, Pretrained
from textok.models.conditions import Condition, ConditionConfig, ConditionEmbedder, join_condition
from textok.models.layers import Attention, Keys, in_autocast_dtype, init_linear

TIME_CHANNELS = 256
TIME_SCALE = 1000.0  # times in [0, 1] are embedded as the step numbers of the original


@dataclass(frozen=True, kw_only=True)
class DiTConfig:
    """Everything that fixes a generator's shape, and which tokenizer it writes for.

    Attributes:
        dim, depth, num_heads, mlp_ratio: of the transformer.
        num_latents: K, the largest budget.
        latent_dim: c, channels of a latent token.
        prediction: "velocity" of the rectified flow, or the "noise" of a variance-preserving diffusion.
        condition: class or text.
        tokenizer: model id of the tokenizer whose latents it was trained on.
        tokenizer_source: shipped name, folder or hub id where that tokenizer was loaded from.
    """

    kind: ClassVar[str] = "dit"

    dim: int = 384
    depth: int = 12
    num_heads: int = 6
    mlp_ratio: float = 4.0
    num_latents: int = 32
    latent_dim: int = 8
    prediction: Literal["velocity", "noise"] = "velocity"
    condition: ConditionConfig = field(default_factory=ConditionConfig)
    tokenizer: str = ""
    tokenizer_source: str = ""

    def __post_init__(self) -> None:
        for name in ("dim", "depth", "num_heads", "num_latents", "latent_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name}: got {getattr(self, name)}, expected at least 1")
        if self.dim % self.num_heads:
            raise ValueError(
                f"model.dim: got {self.dim}, expected a multiple of num_heads = {self.num_heads}"
            )
        if self.prediction not in ("velocity", "noise"):
            raise ValueError(f"model.prediction: got {self.prediction!r}, expected velocity or noise")


SIZES = {"S": (12, 384, 6), "B": (12, 768, 12), "L": (24, 1024, 16), "XL": (28, 1152, 16)}
"""Depth, width and heads of the published sizes."""


class DiT(Pretrained):
    """Predicts the velocity (or the noise) of noisy latents, given the time, the budget and the condition."""

    config_class = DiTConfig
    shipped = SHIPPED_GENERATORS
    config: DiTConfig

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        self.latent = nn.Linear(config.latent_dim, config.dim)
        self.positions = nn.Parameter(torch.randn(config.num_latents, config.dim) * 0.5)
        self.time = TimeEmbedding(config.dim)
        self.budget = nn.Embedding(config.num_latents, config.dim)
        self.blocks = nn.ModuleList(
            DiTBlock(config.dim, config.num_heads, mlp_ratio=config.mlp_ratio) for _ in range(config.depth)
        )
        self.output = FinalLayer(config.dim, config.latent_dim)
        init_linear(self)
        self.condition = ConditionEmbedder(config.condition, dim=config.dim)
        nn.init.normal_(self.budget.weight, std=0.02)
        self._start_at_zero()
        self.activation_checkpointing = False

    def _start_at_zero(self) -> None:
        """adaLN-zero: every block starts as the identity and the output as zero."""
        zeroed = [layer for name, layer in self.named_modules() if name.endswith("modulation")]
        for layer in (*zeroed, self.output.linear):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        latents: Float[Tensor, "b k c"],
        time: Float[Tensor, "b"],
        condition: Condition,
        *,
        lengths: Int[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b k c"]:
        """One prediction for each latent.

        Args:
            latents: noisy; k is the budget, 1 to K.
            time: in [0, 1]; 1 is pure noise.
            condition: a class or a caption a row.
            lengths: a budget for each row, at most k; values past it are neither read nor meant.

        Raises:
            ValueError: for shapes or conditions that do not fit.
        """
        batch, budget = self.check(latents)
        embedded = self.condition(condition, batch=batch)
        told = lengths if lengths is not None else torch.full((batch,), budget, device=latents.device)
        state = self.time(time) + self.budget(told - 1) + embedded.pooled  # (b d)
        x = self.latent(latents.to(self.latent.weight.dtype)) + self.positions[:budget]  # (b k d)
        x, keys = join_condition(x, embedded, lengths=lengths)  # (b k+t d)
        x = self.run_blocks(x, state, keys, keep=budget)  # (b k d)
        return self.output(x, state).float()  # (b k c)

    def run_blocks(
        self, x: Float[Tensor, "b s d"], state: Float[Tensor, "b d"], keys: Keys, *, keep: int
    ) -> Float[Tensor, "b k d"]:
        """The blocks; the last one computes the latents' positions only."""
        x = in_autocast_dtype(x)
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            kept = keep if index == last else None
            if self.activation_checkpointing and self.training:
                x = checkpoint(block, x, state, keys, keep=kept, use_reentrant=False)
            else:
                x = block(x, state, keys, keep=kept)
        return x

    def check(self, latents: Tensor) -> tuple[int, int]:
        """(b, k) of latents that fit the model; raises ``ValueError`` for others."""
        most, channels = self.config.num_latents, self.config.latent_dim
        if latents.dim() != 3 or latents.shape[2] != channels or not 1 <= latents.shape[1] <= most:
            raise ValueError(
                f"latents: got shape {tuple(latents.shape)}, expected (b, 1 to {most}, {channels})"
            )
        return latents.shape[0], latents.shape[1]


class DiTBlock(nn.Module):
    """Transformer block whose norms are shifted and scaled, and whose branches are gated, by the state (adaLN-zero)."""

    def __init__(self, dim: int, num_heads: int, *, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6) for _ in range(2))
        self.attention = Attention(dim, num_heads)
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, dim))
        self.modulation = nn.Linear(dim, 6 * dim)

    def forward(
        self,
        x: Float[Tensor, "b s d"],
        state: Float[Tensor, "b d"],
        keys: Keys,
        *,
        keep: int | None = None,
    ) -> Float[Tensor, "b q d"]:
        """One block; with ``keep`` only the first positions are computed."""
        modulation = self.modulation(nn.functional.silu(state))[:, None].to(x.dtype)  # (b 1 6d)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=2)
        bias = absent_bias(keys.valid, dtype=x.dtype)
        mixed = self.attention(modulate(self.norm1(x), shift1, scale1), bias=bias, keep=keep)
        x = x[:, :keep] + gate1 * mixed
        return x + gate2 * self.mlp(modulate(self.norm2(x), shift2, scale2))


class FinalLayer(nn.Module):
    """Adaptive norm and a linear map to the latent channels."""

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Linear(dim, 2 * dim)
        self.linear = nn.Linear(dim, channels)

    def forward(self, x: Float[Tensor, "b k d"], state: Float[Tensor, "b d"]) -> Float[Tensor, "b k c"]:
        """States to predictions."""
        shift, scale = self.modulation(nn.functional.silu(state))[:, None].to(x.dtype).chunk(2, dim=2)
        return self.linear(modulate(self.norm(x), shift, scale))


class TimeEmbedding(nn.Module):
    """Sine-cosine waves of the time, then a small network."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(TIME_CHANNELS, dim), nn.Linear(dim, dim)

    def forward(self, time: Float[Tensor, "b"]) -> Float[Tensor, "b d"]:
        """Times in [0, 1] to vectors."""
        half = TIME_CHANNELS // 2
        exponents = torch.arange(half, device=time.device, dtype=torch.float32) / half
        angles = TIME_SCALE * time.float()[:, None] * torch.exp(-math.log(10_000.0) * exponents)
        waves = torch.cat([angles.cos(), angles.sin()], dim=1).to(self.first.weight.dtype)
        return self.second(nn.functional.silu(self.first(waves)))


def modulate(
    x: Float[Tensor, "b s d"], shift: Float[Tensor, "b 1 d"], scale: Float[Tensor, "b 1 d"]
) -> Float[Tensor, "b s d"]:
    """Shift and scale, 0 and 0 changing nothing."""
    return torch.addcmul(shift, x.to(shift.dtype), 1 + scale)


def absent_bias(valid: Bool[Tensor, "b s"] | None, *, dtype: torch.dtype) -> Float[Tensor, "b 1 1 s"] | None:
    """Additive attention bias: minus infinity on absent keys."""
    if valid is None:
        return None
    return torch.zeros_like(valid, dtype=dtype).masked_fill(~valid, -math.inf)[:, None, None, :]
