"""The encoder: pictures and their captions to latent states.

Axes: b batch, h w pixels, p patch tokens, K latent tokens, t text tokens, d width, i channels that the bottleneck
reads.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from textok.models.layers import init_linear
from textok.models.patches import patchify
from textok.models.text import TextCondition
from textok.models.vit import ViTConfig, join_text


class TokenEncoder(nn.Module):
    """[latent queries ; patches ; text] -> ViT -> keep the latents -> linear."""

    def __init__(self, config: ViTConfig, *, output_dim: int) -> None:
        super().__init__()
        self.config = config
        self.patch = nn.Linear(3 * config.patch_size**2, config.dim)
        self.queries = nn.Parameter(torch.randn(config.num_latents, config.dim) * 0.5)
        self.transformer = config.build_transformer("encoder")
        self.output = nn.Linear(config.dim, output_dim)
        init_linear(self)
        self.text = config.build_text("encoder")

    def forward(
        self,
        images: Float[Tensor, "b 3 h w"],
        text: TextCondition | None,
        *,
        grid: tuple[int, int],
    ) -> Float[Tensor, "b K i"]:
        """All K latent states of the pictures."""
        images = images.to(self.patch.weight.dtype)
        patches = self.patch(patchify(images, grid=grid)) + self.config.positions(grid, like=self.queries)
        queries = self.queries.expand(len(images), -1, -1)  # (b K d)
        tokens, keys = join_text(torch.cat([queries, patches], dim=1), None, self.text, text)  # (b K+p+t d)
        return self.output(self.transformer(tokens, keys, keep=self.config.num_latents))  # (b K i)
