"""What the two vision transformers of TexTok share: their sizes, the caption they read, the plane of patches."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from textok.checks import check, check_choice
from textok.models.attention import KeyMask, join_captions
from textok.models.layers import Transformer, drawn_apart
from textok.models.text import PooledTextTokens, TextCondition, TextTokens

Placement = Literal["both", "encoder", "decoder", "none"]

MAX_PATCHES = 65_536
"""Of a training picture: 4,096 px in patches of 16; attention over more fits no machine."""


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Sizes of the encoder and the decoder, and the text that they read.

    Attributes:
        image_size: side in pixels of the training pictures; other sizes and shapes run too.
        patch_size: side in pixels of a patch.
        dim: width d of both transformers.
        encoder_depth, decoder_depth, num_heads, mlp_ratio: their blocks.
        num_latents: K, the largest token budget.
        placement: which side reads the caption.
        text_encoder: name, folder or hub id of the frozen text encoder whose states the model was trained on.
        text_dim: its width.
        text_dtype: that it computes in, for training, caching and use alike; states of another one differ a little.
        max_text_tokens: captions are cut to this many tokens.
        text_pool: number of tokens that a caption is pooled to, by learned queries on each side, which makes long
            captions cheaper; None reads every token state.
        text_path: "sequence" puts the caption tokens into the sequence, as the paper does; with "keys" every block
            attends to them as they came in, which costs a sixth per token: long captions need no pooling.
        text_bias: initial value of the learned attention bias on caption keys; None leaves the bias out.
    """

    retired: ClassVar[dict[str, Any]] = {"tail": "cut"}

    image_size: int = 128
    patch_size: int = 16
    dim: int = 256
    encoder_depth: int = 6
    decoder_depth: int = 6
    num_heads: int = 4
    mlp_ratio: float = 4.0
    num_latents: int = 32
    placement: Placement = "both"
    text_encoder: str = "minilm"
    text_dim: int = 384
    text_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    max_text_tokens: int = 40
    text_pool: int | None = None
    text_path: Literal["sequence", "keys"] = "sequence"
    text_bias: float | None = -3.0

    def __post_init__(self) -> None:
        sizes = ("image_size", "patch_size", "dim", "encoder_depth", "decoder_depth", "num_heads")
        check(self, "model", *sizes, "num_latents", "text_dim", "max_text_tokens", at_least=1)
        check(self, "model", "mlp_ratio", above=0)
        if self.text_pool is not None:
            check(self, "model", "text_pool", at_least=1)
        check_choice(self, "model", placement=("both", "encoder", "decoder", "none"))
        check_choice(self, "model", text_path=("sequence", "keys"))
        if self.image_size % self.patch_size:
            raise ValueError(
                f"model.image_size: got {self.image_size}, expected a multiple of patch_size {self.patch_size}"
            )
        if self.num_patches > MAX_PATCHES:
            raise ValueError(
                f"model.image_size: got {self.image_size}, expected at most {MAX_PATCHES} patches of {self.patch_size}"
            )
        if self.dim % (4 * self.num_heads):
            raise ValueError(
                f"model.dim: got {self.dim}, expected a multiple of 4 * num_heads = {4 * self.num_heads}"
            )

    @property
    def side(self) -> int:
        """Patches along a side of a training picture."""
        return self.image_size // self.patch_size

    @property
    def num_patches(self) -> int:
        """Patch tokens p of a training picture."""
        return self.side**2

    def reads_text(self, side: Literal["encoder", "decoder"]) -> bool:
        """Whether this side reads the caption."""
        return self.placement in ("both", side)

    def build_transformer(
        self, side: Literal["encoder", "decoder"], *, modulated: bool = False
    ) -> Transformer:
        """The blocks of this side; ``modulated`` ones read a time too."""
        depth = self.encoder_depth if side == "encoder" else self.decoder_depth
        bias, ratio = self.text_bias if self.reads_text(side) else None, self.mlp_ratio
        return Transformer(
            self.dim,
            self.num_heads,
            depth=depth,
            mlp_ratio=ratio,
            text_bias=bias,
            modulated=modulated,
            text_as_keys=self.text_path == "keys" and self.reads_text(side),
        )

    def build_text(self, side: Literal["encoder", "decoder"]) -> TextTokens | PooledTextTokens | None:
        """Caption states to tokens; None on a side that reads no captions."""
        if not self.reads_text(side):
            return None
        with drawn_apart():
            tokens = TextTokens(text_dim=self.text_dim, dim=self.dim, max_tokens=self.max_text_tokens)
            if self.text_pool is None:
                return tokens
            return PooledTextTokens(tokens, num_tokens=self.text_pool, num_heads=self.num_heads)

    def positions(self, grid: tuple[int, int], *, like: Tensor) -> Float[Tensor, "p d"]:
        """Positions of the patches, on the device and in the dtype of ``like``."""
        plane = grid_positions(grid, dim=self.dim, trained_side=self.side, device=like.device)
        return plane.to(like.dtype)


def join_text(
    tokens: Float[Tensor, "b s d"],
    mask: Bool[Tensor, "b s"] | None,
    embed: TextTokens | PooledTextTokens | None,
    text: TextCondition | None,
) -> tuple[Float[Tensor, "b r d"], KeyMask]:
    """Put the caption tokens behind the patches and latents, of which ``mask`` tells the present ones; None for all.

    ``embed`` is None on a side that reads no captions.
    """
    if embed is None:
        return tokens, KeyMask(mask=mask)
    return join_captions(tokens, mask, *embed(text, batch=len(tokens)))


# --- the plane of patches: p patches, i values of a patch -----------------------------------------------------


def grid_positions(
    grid: tuple[int, int], *, dim: int, trained_side: int, device: torch.device | None = None
) -> Float[Tensor, "p d"]:
    """2-D sine-cosine positions of unit variance for a (rows, columns) grid of patches, row by row.

    Coordinates are centred, and scaled so that the longer side spans what ``trained_side`` patches span: at the trained
    grid the step is one, and other resolutions or shapes see the same picture plane.
    """
    rows, columns = grid
    step = trained_side / max(rows, columns)
    y = (torch.arange(rows, device=device, dtype=torch.float32) - (rows - 1) / 2) * step
    x = (torch.arange(columns, device=device, dtype=torch.float32) - (columns - 1) / 2) * step
    ys, xs = torch.meshgrid(y, x, indexing="ij")
    half = [_sine_cosine(c.flatten(), dim // 2, longest=4.0 * trained_side) for c in (ys, xs)]
    return torch.cat(half, dim=1)


def _sine_cosine(positions: Float[Tensor, "p"], dim: int, *, longest: float) -> Float[Tensor, "p d"]:
    """Waves with periods from 2 patches to ``longest`` patches, scaled to unit variance."""
    exponents = torch.linspace(0, 1, dim // 2, device=positions.device)
    frequencies = math.pi * (2.0 / longest) ** exponents
    angles = positions[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1) * math.sqrt(2)


def patchify(images: Float[Tensor, "b 3 h w"], *, grid: tuple[int, int]) -> Float[Tensor, "b p i"]:
    """Pictures into flat patches, row by row."""
    batch, channels, height, width = images.shape
    rows, columns = grid
    x = images.reshape(batch, channels, rows, height // rows, columns, width // columns)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, -1)


def unpatchify(
    patches: Float[Tensor, "b p i"], *, grid: tuple[int, int], patch_size: int
) -> Float[Tensor, "b 3 h w"]:
    """Flat patches back into pictures."""
    rows, columns = grid
    x = patches.reshape(len(patches), rows, columns, 3, patch_size, patch_size)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(len(patches), 3, rows * patch_size, columns * patch_size)
