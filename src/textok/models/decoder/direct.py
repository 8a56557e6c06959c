"""The decoder of the paper: latents to pixels in one pass.

Axes: b batch, h w pixels, p patch tokens, k latent tokens, t text tokens, d width, c latent channels.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from textok.models.attention import KeyMask
from textok.models.layers import init_linear
from textok.models.text import TextCondition
from textok.models.vit import ViTConfig, join_text, unpatchify
from textok.objectives import Estimate
from textok.sampling.random import Random


@dataclass(frozen=True, kw_only=True)
class DirectConfig:
    """One pass, no noise: the decoder of the paper; it has no settings of its own."""

    kind: ClassVar[str] = "direct"

    def build(self, config: ViTConfig, *, latent_dim: int) -> "DirectDecoder":
        """The module of this configuration."""
        return DirectDecoder(config, latent_dim=latent_dim)


class DirectDecoder(nn.Module):
    """[patch queries ; latents ; text] -> ViT -> keep the patches -> linear -> pixels."""

    modulated: ClassVar[bool] = False

    def __init__(self, config: ViTConfig, *, latent_dim: int) -> None:
        super().__init__()
        self.config = config
        self.latent = nn.Linear(latent_dim, config.dim)
        self.latent_positions = nn.Parameter(torch.randn(config.num_latents, config.dim) * 0.5)
        self.query = nn.Parameter(torch.zeros(config.dim))
        self.transformer = config.build_transformer("decoder", modulated=self.modulated)
        self.output = nn.Linear(config.dim, 3 * config.patch_size**2)
        init_linear(self)
        self.text = config.build_text("decoder")

    @property
    def last_layer(self) -> Tensor:
        """The weight that makes the pixels."""
        return self.output.weight

    def forward(
        self,
        latents: Float[Tensor, "b k c"],
        text: TextCondition | None,
        *,
        images: Float[Tensor, "b 3 h w"],
        grid: tuple[int, int],
        mask: Bool[Tensor, "b k"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        """The training pass, which is the decoding pass."""
        return Estimate(images=self.decode(latents, text, grid=grid, mask=mask))

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
        """Pictures of latents; ``generator`` is not used, for nothing is drawn.

        Raises:
            ValueError: for steps, guidance or a start, which need a flow decoder.
        """
        _check_direct(steps=(steps, 0), guidance=(guidance, 1.0), start=(start, 1.0))
        queries = self.patch_queries(grid, batch=len(latents))
        tokens, keys = self.sequence(queries, latents, text, mask=mask)  # (b p+k+t d)
        patches = self.output(self.transformer(tokens, keys, keep=queries.shape[1]))  # (b p 3*patch*patch)
        return unpatchify(patches, grid=grid, patch_size=self.config.patch_size).float()

    def patch_queries(self, grid: tuple[int, int], *, batch: int) -> Float[Tensor, "b p d"]:
        """The learned query at every patch's position."""
        return (self.query + self.config.positions(grid, like=self.query)).expand(batch, -1, -1)

    def sequence(
        self,
        front: Float[Tensor, "b s d"],
        latents: Float[Tensor, "b k c"],
        text: TextCondition | None,
        *,
        mask: Bool[Tensor, "b k"] | None,
        front_mask: Bool[Tensor, "b s"] | None = None,
    ) -> tuple[Float[Tensor, "b r d"], KeyMask]:
        """``front``, the latents, then the caption; each mask is None where all positions are present."""
        tokens = self.latent(latents.to(self.query.dtype)) + self.latent_positions[: latents.shape[1]]
        tokens = torch.cat([front, tokens], dim=1)
        if mask is not None or front_mask is not None:
            every = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
            parts = (every[:, : front.shape[1]], every[:, front.shape[1] :])
            pairs = zip(parts, (front_mask, mask), strict=True)
            mask = torch.cat([everywhere if part is None else part for everywhere, part in pairs], dim=1)
        return join_text(tokens, mask, self.text, text)


def _check_direct(**values: tuple[int | float | None, int | float]) -> None:
    for name, (value, expected) in values.items():
        if value is not None and value != expected:
            raise ValueError(
                f"{name}: got {value}, expected {expected}: this tokenizer's decoder is direct; "
                "leave it out, or use a tokenizer with a flow decoder"
            )
