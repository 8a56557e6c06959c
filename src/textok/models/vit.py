"""The two vision transformers of TexTok: pictures to latent states, and latents to pictures.

Axes: b batch, h w pixels, p patch tokens, k latent tokens, K the most of them, t text tokens, d width,
c latent channels, i channels that the bottleneck reads.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from textok.models.bottleneck import BottleneckConfig, KLConfig
from textok.models.layers import Transformer, drawn_apart, grid_positions, init_linear, patchify, unpatchify
from textok.models.text import TextCondition, TextTokens, join_text

Placement = Literal["both", "encoder", "decoder", "none"]
TextPath = Literal["sequence", "memory"]
Tail = Literal["cut", "mask"]


@dataclass(frozen=True, kw_only=True)
class TexTokConfig:
    """Everything that fixes a tokenizer's shape.

    Attributes:
        image_size: side in pixels of the training pictures; other sizes and shapes run too.
        patch_size: side in pixels of a patch.
        dim: width d of both transformers.
        encoder_depth, decoder_depth, num_heads, mlp_ratio: their blocks.
        num_latents: K, the largest token budget.
        bottleneck: what sits between them, with the number of latent channels c.
        placement: which side reads the caption.
        text_encoder: name, folder or hub id of the frozen text encoder whose states the model was trained on.
        text_dim: its width.
        max_text_tokens: captions are cut to this many tokens.
        text_path: "sequence" makes caption tokens part of the sequence, as the paper does; "memory" lets every
            block read them by keys and values of their own and leaves them as they are, which costs less
            (benchmarks/results/text_startup.json).
        text_bias: where the learned attention bias on caption keys starts; None leaves the bias out.
        tail: what the decoder reads in place of the latents beyond the budget: nothing ("cut"), or a learned token
            at each of their positions ("mask"), which makes every budget cost as much as all K.
    """

    image_size: int = 128
    patch_size: int = 16
    dim: int = 256
    encoder_depth: int = 6
    decoder_depth: int = 6
    num_heads: int = 4
    mlp_ratio: float = 4.0
    num_latents: int = 32
    bottleneck: BottleneckConfig = field(default_factory=KLConfig)
    placement: Placement = "both"
    text_encoder: str = "minilm"
    text_dim: int = 384
    max_text_tokens: int = 40
    text_path: TextPath = "sequence"
    text_bias: float | None = -3.0
    tail: Tail = "cut"

    def __post_init__(self) -> None:
        self._check_positive()
        if self.image_size % self.patch_size:
            raise ValueError(
                f"model.image_size: {self.image_size} is no multiple of patch_size {self.patch_size}"
            )
        if self.dim % (4 * self.num_heads):
            raise ValueError(
                f"model.dim: got {self.dim}, expected a multiple of 4 * num_heads = {4 * self.num_heads}"
            )
        if self.placement not in ("both", "encoder", "decoder", "none"):
            raise ValueError(
                f"model.placement: got {self.placement!r}, expected both, encoder, decoder or none"
            )
        if self.text_path not in ("sequence", "memory"):
            raise ValueError(f"model.text_path: got {self.text_path!r}, expected sequence or memory")
        if self.tail not in ("cut", "mask"):
            raise ValueError(f"model.tail: got {self.tail!r}, expected cut or mask")

    def _check_positive(self) -> None:
        sizes = ("image_size", "patch_size", "dim", "encoder_depth", "decoder_depth", "num_heads")
        for name in (*sizes, "num_latents", "text_dim", "max_text_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name}: got {getattr(self, name)}, expected at least 1")
        if self.mlp_ratio <= 0:
            raise ValueError(f"model.mlp_ratio: got {self.mlp_ratio}, expected a positive number")

    @property
    def latent_dim(self) -> int:
        """Latent channels c."""
        return self.bottleneck.latent_dim

    @property
    def side(self) -> int:
        """Patches along a side of a training picture."""
        return self.image_size // self.patch_size

    @property
    def num_patches(self) -> int:
        """Patch tokens p of a training picture."""
        return self.side**2


class TokenEncoder(nn.Module):
    """[latent queries ; patches ; text] -> ViT -> keep the latents -> linear."""

    def __init__(self, config: TexTokConfig, *, output_dim: int) -> None:
        super().__init__()
        self.config = config
        reads_text = config.placement in ("both", "encoder")
        self.patch = nn.Linear(3 * config.patch_size**2, config.dim)
        self.queries = nn.Parameter(torch.randn(config.num_latents, config.dim) * 0.5)
        self.transformer = _transformer(config, depth=config.encoder_depth, reads_text=reads_text)
        self.output = nn.Linear(config.dim, output_dim)
        init_linear(self)
        self.text = _text_tokens(config, reads_text=reads_text)

    def forward(
        self,
        images: Float[Tensor, "b 3 h w"],
        text: TextCondition | None,
        *,
        grid: tuple[int, int],
    ) -> Float[Tensor, "b K i"]:
        """All K latent states of the pictures."""
        batch, kept = len(images), self.config.num_latents
        images = images.to(self.patch.weight.dtype)
        patches = self.patch(patchify(images, grid=grid)) + _positions(self.config, grid, like=self.queries)
        queries = self.queries.expand(batch, -1, -1)  # (b K d)
        as_memory = self.config.text_path == "memory"
        tokens = torch.cat([queries, patches], dim=1)  # (b K+p d)
        tokens, keys = join_text(tokens, None, self.text, text, as_memory=as_memory)  # (b K+p+t d)
        return self.output(self.transformer(tokens, keys, keep=kept))  # (b K i)


class TokenDecoder(nn.Module):
    """[patch queries ; latents ; text] -> ViT -> keep the patches -> linear -> pixels."""

    def __init__(self, config: TexTokConfig) -> None:
        super().__init__()
        self.config = config
        reads_text = config.placement in ("both", "decoder")
        self.latent = nn.Linear(config.latent_dim, config.dim)
        self.latent_positions = nn.Parameter(torch.randn(config.num_latents, config.dim) * 0.5)
        self.query = nn.Parameter(torch.zeros(config.dim))
        self.transformer = _transformer(config, depth=config.decoder_depth, reads_text=reads_text)
        self.output = nn.Linear(config.dim, 3 * config.patch_size**2)
        init_linear(self)
        self.text = _text_tokens(config, reads_text=reads_text)
        self.absent = nn.Parameter(torch.zeros(config.dim)) if config.tail == "mask" else None

    def forward(
        self,
        latents: Float[Tensor, "b k c"],
        text: TextCondition | None,
        *,
        grid: tuple[int, int],
        present: Bool[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Pictures from k latents a row; ``present`` masks the tail of rows with a smaller budget."""
        batch = len(latents)
        queries = (self.query + _positions(self.config, grid, like=self.query)).expand(batch, -1, -1)
        tokens, present = self._latent_tokens(latents, present)  # (b k d), (b k)
        valid = None
        if present is not None:
            valid = torch.cat([present.new_ones(batch, queries.shape[1]), present], dim=1)
        as_memory = self.config.text_path == "memory"
        tokens = torch.cat([queries, tokens], dim=1)  # (b p+k d)
        joined, keys = join_text(tokens, valid, self.text, text, as_memory=as_memory)  # (b p+k+t d)
        patches = self.output(self.transformer(joined, keys, keep=queries.shape[1]))  # (b p 3*patch*patch)
        return unpatchify(patches, grid=grid, patch_size=self.config.patch_size)

    def _latent_tokens(
        self, latents: Float[Tensor, "b k c"], present: Bool[Tensor, "b k"] | None
    ) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b n"] | None]:
        """The latents in place, n = k; or with the mask token where there is none, n = K, and nothing to mask."""
        tokens = self.latent(latents.to(self.query.dtype))
        if self.absent is None:
            return tokens + self.latent_positions[: tokens.shape[1]], present
        if present is not None:
            tokens = torch.where(present[..., None], tokens, self.absent)
        missing = self.config.num_latents - tokens.shape[1]
        tail = self.absent.expand(len(tokens), missing, -1)
        return torch.cat([tokens, tail], dim=1) + self.latent_positions, None


def _positions(config: TexTokConfig, grid: tuple[int, int], *, like: Tensor) -> Float[Tensor, "p d"]:
    return grid_positions(grid, dim=config.dim, trained_side=config.side, device=like.device).to(like.dtype)


def _text_tokens(config: TexTokConfig, *, reads_text: bool) -> TextTokens | None:
    if not reads_text:
        return None
    with drawn_apart():
        return TextTokens(text_dim=config.text_dim, dim=config.dim, max_tokens=config.max_text_tokens)


def _transformer(config: TexTokConfig, *, depth: int, reads_text: bool) -> Transformer:
    return Transformer(
        config.dim,
        config.num_heads,
        depth=depth,
        mlp_ratio=config.mlp_ratio,
        text_bias=config.text_bias if reads_text else None,
        memory=reads_text and config.text_path == "memory",
    )
