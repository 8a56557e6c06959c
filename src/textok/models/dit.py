"""DiT over latent tokens: a diffusion transformer with patch size 1 (Peebles & Xie 2022, arXiv 2212.09748).

Axes: b batch, k latent tokens, K the most of them, t text tokens, s sequence, d width, c latent channels.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from textok.checks import check
from textok.models.checkpoint import SHIPPED_GENERATORS, Pretrained
from textok.models.conditions import Condition, ConditionEmbedder, GeneratorConfig, join_condition
from textok.models.layers import AdaptiveBlock, Blocks, Norm, TimeEmbedding, init_linear, modulate

Latents = Float[Tensor, "b k c"]
Lengths = Int[Tensor, "b"] | None


@dataclass(frozen=True, kw_only=True)
class DiTConfig(GeneratorConfig):
    """Everything that fixes a generator's shape, and which tokenizer it writes for.

    Attributes:
        latent_dim: c, channels of a latent token.
    """

    kind: ClassVar[str] = "dit"
    retired: ClassVar[dict[str, Any]] = {"prediction": "velocity"}

    latent_dim: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "model", "latent_dim", at_least=1)


SIZES = {"S": (12, 384, 6), "B": (12, 768, 12), "L": (24, 1024, 16), "XL": (28, 1152, 16)}
"""Depth, width and heads of the published sizes."""


class DiT(Pretrained):
    """Predicts the velocity of noisy latents, given the time, the budget and the condition."""

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
        self.blocks = Blocks(
            AdaptiveBlock(config.dim, config.num_heads, mlp_ratio=config.mlp_ratio)
            for _ in range(config.depth)
        )
        self.output = FinalLayer(config.dim, config.latent_dim)
        init_linear(self)
        self.condition = ConditionEmbedder(config.condition, dim=config.dim)
        nn.init.normal_(self.budget.weight, std=0.02)
        self._start_at_zero()

    def _start_at_zero(self) -> None:
        """adaLN-zero: every block starts as the identity and the output as zero."""
        zeroed = [layer for name, layer in self.named_modules() if name.endswith("modulation")]
        for layer in (*zeroed, self.output.linear):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self, latents: Latents, time: Float[Tensor, "b"], condition: Condition, *, lengths: Lengths = None
    ) -> Latents:
        """One prediction for each of the k noisy latents; ``ValueError`` for shapes or conditions that do not fit.

        Times are in [0, 1], where 1 is pure noise. ``lengths`` is a budget for each row, at most k; values past it are
        neither read nor meant.
        """
        batch, budget = self.check(latents)
        pooled, captions = self.condition(condition, batch=batch)
        budgets = lengths if lengths is not None else torch.full((batch,), budget, device=latents.device)
        state = self.time(time) + self.budget(budgets - 1) + pooled  # (b d)
        x = self.latent(latents.to(self.latent.weight.dtype)) + self.positions[:budget]  # (b k d)
        x, keys = join_condition(x, captions, lengths=lengths)  # (b k+t d)
        x = self.blocks(x, state, keys, keep=budget)  # (b k d)
        return self.output(x, state).float()  # (b k c)

    def check(self, latents: Tensor) -> tuple[int, int]:
        """(b, k) of latents that fit the model; raises ``ValueError`` for others."""
        most, channels = self.config.num_latents, self.config.latent_dim
        if latents.dim() != 3 or latents.shape[2] != channels or not 1 <= latents.shape[1] <= most:
            raise ValueError(
                f"latents: got shape {tuple(latents.shape)}, expected (b, 1 to {most}, {channels})"
            )
        return latents.shape[0], latents.shape[1]


class FinalLayer(nn.Module):
    """Adaptive norm and a linear map to the latent channels."""

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.norm = Norm(dim, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Linear(dim, 2 * dim)
        self.linear = nn.Linear(dim, channels)

    def forward(self, x: Float[Tensor, "b k d"], state: Float[Tensor, "b d"]) -> Latents:
        """States to predictions."""
        shift, scale = self.modulation(nn.functional.silu(state))[:, None].to(x.dtype).chunk(2, dim=2)
        return self.linear(modulate(self.norm(x), shift, scale))
