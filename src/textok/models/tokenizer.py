"""TexTok: an image tokenizer and detokenizer that read the caption (Zha et al., CVPR 2025, arXiv 2412.05796).

Axes: b batch, h w pixels, p patch tokens, k latent tokens, K the most of them, t text tokens, d width,
c latent channels.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from textok.models.bottleneck import Bottled, BottleneckConfig, KLConfig
from textok.models.checkpoint import Pretrained
from textok.models.layers import Keys, Transformer, grid_positions, init_linear
from textok.models.text import TextCondition

Placement = Literal["both", "encoder", "decoder", "none"]


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
        text_bias: where the learned attention bias on caption keys starts; None leaves the bias out.
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
    text_bias: float | None = -3.0

    def __post_init__(self) -> None:
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
        for name in (
            "encoder_depth",
            "decoder_depth",
            "num_latents",
            "text_dim",
            "max_text_tokens",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name}: got {getattr(self, name)}, expected at least 1")

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


@dataclass(frozen=True)
class Encoding:
    """What ``TexTok.encode`` returns.

    Attributes:
        latents: (b, k, c) of about zero mean and unit scale per channel; what ``decode`` reads.
        codes: (b, k) integers of a discrete tokenizer, else None; ``decode`` reads these too.
        log_variance: (b, k, c) of a ``kl`` tokenizer on the scale of ``latents``, else None.
    """

    latents: Float[Tensor, "b k c"]
    codes: Int[Tensor, "b k"] | None = None
    log_variance: Float[Tensor, "b k c"] | None = None


@dataclass(frozen=True)
class Reconstruction:
    """What the training pass returns: pictures (b, 3, h, w) on [-1, 1], not clamped, and the bottleneck's part."""

    images: Float[Tensor, "b 3 h w"]
    bottled: Bottled


class TextTokens(nn.Module):
    """Caption states to transformer tokens; a row without a caption becomes one learned null token."""

    def __init__(self, config: TexTokConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.text_dim)
        self.project = nn.Linear(config.text_dim, config.dim)
        self.positions = nn.Parameter(torch.randn(config.max_text_tokens, config.dim) * 0.5)
        self.null = nn.Parameter(torch.randn(config.dim) * 0.5)

    def forward(
        self, text: TextCondition | None, *, batch: int
    ) -> tuple[Float[Tensor, "b t d"], Bool[Tensor, "b t"]]:
        """Tokens (b, t, d) and which of them are present."""
        if text is None:
            tokens = self.null.expand(batch, 1, -1)
            return tokens, torch.ones(batch, 1, dtype=torch.bool, device=tokens.device)
        self.check(text, batch=batch)
        length = text.mask.shape[1]
        states = text.embeddings.masked_fill(~text.mask[..., None], 0.0)
        tokens = self.project(self.norm(states)) + self.positions[:length]  # (b t d)
        empty = ~text.mask.any(dim=1)
        first = torch.zeros_like(text.mask)
        first[:, 0] = empty
        tokens = torch.where(first[..., None], self.null.to(tokens.dtype), tokens)
        return tokens, text.mask | first

    def check(self, text: TextCondition, *, batch: int) -> None:
        """Raise ``ValueError`` for text of another batch, width or length."""
        limit, width = self.positions.shape[0], self.norm.normalized_shape[0]
        rows, length, found = text.embeddings.shape
        if rows != batch:
            raise ValueError(f"text: got {rows} captions for {batch} pictures; pass one caption a picture")
        if found != width:
            raise ValueError(
                f"text: states are {found} wide, expected {width}: use the model's own text encoder"
            )
        if length > limit:
            raise ValueError(
                f"text: {length} tokens, expected at most {limit}: encode with max_tokens={limit}"
            )


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
        init_linear([self])
        self.text = TextTokens(config) if reads_text else None

    def forward(
        self,
        images: Float[Tensor, "b 3 h w"],
        text: TextCondition | None,
        *,
        grid: tuple[int, int],
    ) -> Float[Tensor, "b K i"]:
        """All K latent states of the pictures."""
        batch, kept = len(images), self.config.num_latents
        positions = _positions(self.config, grid, device=images.device)
        patches = self.patch(patchify(images, grid=grid)) + positions  # (b p d)
        queries = self.queries.expand(batch, -1, -1)  # (b K d)
        tokens, keys = join_text(torch.cat([queries, patches], dim=1), None, self.text, text)  # (b K+p+t d)
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
        init_linear([self])
        self.text = TextTokens(config) if reads_text else None

    def forward(
        self,
        latents: Float[Tensor, "b k c"],
        text: TextCondition | None,
        *,
        grid: tuple[int, int],
        present: Bool[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Pictures from k latents a row; ``present`` masks the tail of rows with a smaller budget."""
        batch, length, _ = latents.shape
        queries = (self.query + _positions(self.config, grid, device=latents.device)).expand(batch, -1, -1)
        tokens = self.latent(latents) + self.latent_positions[:length]  # (b k d)
        valid = None
        if present is not None:
            valid = torch.cat([present.new_ones(batch, queries.shape[1]), present], dim=1)
        joined, keys = join_text(torch.cat([queries, tokens], dim=1), valid, self.text, text)
        patches = self.output(self.transformer(joined, keys, keep=queries.shape[1]))  # (b p 3*patch*patch)
        return unpatchify(patches, grid=grid, patch_size=self.config.patch_size)


def join_text(
    tokens: Float[Tensor, "b s d"],
    valid: Bool[Tensor, "b s"] | None,
    embed: TextTokens | None,
    text: TextCondition | None,
) -> tuple[Float[Tensor, "b r d"], Keys]:
    """Append the caption tokens, if this side reads them, and say which keys are present."""
    if embed is None:
        return tokens, Keys(valid=valid)
    caption, present = embed(text, batch=len(tokens))
    joined = torch.cat([tokens, caption.to(tokens.dtype)], dim=1)
    if valid is None:
        valid = present.new_ones(tokens.shape[:2])
    return joined, Keys(valid=torch.cat([valid, present], dim=1), num_text=caption.shape[1])


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


def _positions(config: TexTokConfig, grid: tuple[int, int], *, device: torch.device) -> Float[Tensor, "p d"]:
    return grid_positions(grid, dim=config.dim, trained_side=config.side, device=device)


def _transformer(config: TexTokConfig, *, depth: int, reads_text: bool) -> Transformer:
    return Transformer(
        config.dim,
        config.num_heads,
        depth=depth,
        mlp_ratio=config.mlp_ratio,
        text_bias=config.text_bias if reads_text else None,
    )


class TexTok(Pretrained):
    """The tokenizer: ``encode`` pictures into few tokens, ``decode`` them back, with the caption or without.

    The text encoder is not part of it: both sides read a ``TextCondition``. Latent statistics measured after
    training (``latent_mean``, ``latent_std``) live with the weights, so callers always see unit-scale latents.
    """

    config_class = TexTokConfig
    config: TexTokConfig
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: TexTokConfig) -> None:
        super().__init__()
        self.config = config
        self.bottleneck = config.bottleneck.build()
        self.encoder = TokenEncoder(config, output_dim=self.bottleneck.input_dim)
        self.decoder = TokenDecoder(config)
        self.register_buffer("latent_mean", torch.zeros(config.latent_dim))
        self.register_buffer("latent_std", torch.ones(config.latent_dim))

    @property
    def num_codes(self) -> int | None:
        """Size of the vocabulary of a discrete tokenizer; None for a continuous one."""
        return self.bottleneck.num_codes

    def checkpoint_activations(self, *, enabled: bool) -> None:
        """Recompute activations in the backward pass: less memory for about a third more time."""
        self.encoder.transformer.activation_checkpointing = enabled
        self.decoder.transformer.activation_checkpointing = enabled

    # --- training ---------------------------------------------------------------------------------------

    def forward(
        self,
        images: Float[Tensor, "b 3 h w"],
        text: TextCondition | None = None,
        *,
        lengths: Int[Tensor, "b"] | None = None,  # noqa: F821
        generator: torch.Generator | None = None,
    ) -> Reconstruction:
        """Encode, squeeze, cut row i to its first ``lengths[i]`` latents (nested dropout), decode."""
        grid = self.grid_of(images)
        states = self.encoder(images, text, grid=grid)  # (b K i)
        states, present = cut(states, lengths)  # (b k i), (b k)
        bottled = self.bottleneck(states, present=present, generator=generator)  # (b k c)
        pictures = self.decoder(bottled.latents, text, grid=grid, present=present)  # (b 3 h w)
        return Reconstruction(images=pictures.float(), bottled=bottled)

    # --- use --------------------------------------------------------------------------------------------

    def encode(
        self,
        images: Float[Tensor, "b 3 h w"],
        text: TextCondition | None = None,
        *,
        num_tokens: int | None = None,
    ) -> Encoding:
        """Pictures to the first ``num_tokens`` latents (default all K). A smaller budget is a prefix of a larger.

        Args:
            images: values in [-1, 1]; height and width multiples of the patch size.
            text: captions, or None for none.
            num_tokens: the budget k, 1 to K.

        Raises:
            ValueError: for other sizes, budgets, or text of another encoder.
        """
        states = self.encoder(images, text, grid=self.grid_of(images))[:, : self.budget(num_tokens)]
        bottled = self.bottleneck(states)
        log_variance = bottled.log_variance
        if log_variance is not None:
            log_variance = log_variance - 2 * self.latent_std.log()
        return Encoding(
            latents=(bottled.latents - self.latent_mean) / self.latent_std,
            codes=bottled.codes,
            log_variance=log_variance,
        )

    def decode(
        self,
        tokens: Float[Tensor, "b k c"] | Int[Tensor, "b k"],
        text: TextCondition | None = None,
        *,
        grid: tuple[int, int] | None = None,
        lengths: Int[Tensor, "b"] | None = None,  # noqa: F821
    ) -> Float[Tensor, "b 3 h w"]:
        """Latents, or codes of a discrete tokenizer, to pictures.

        Args:
            tokens: (b, k, c) unit-scale latents or (b, k) integer codes, k from 1 to K.
            text: captions, or None for none.
            grid: (rows, columns) of patches; default the square of training.
            lengths: a budget for each row, at most k; default k for all.

        Returns:
            Pictures (b, 3, h, w) on the scale [-1, 1], not clamped.

        Raises:
            ValueError: for shapes, codes or budgets that do not fit the model.
        """
        self.check_tokens(tokens)
        if tokens.is_floating_point():
            latents = tokens * self.latent_std + self.latent_mean
        else:
            latents = self.bottleneck.latents_of(tokens)
        latents, present = cut(latents, lengths)
        dtype = self.decoder.query.dtype
        side = self.config.side
        return self.decoder(latents.to(dtype), text, grid=grid or (side, side), present=present).float()

    # --- checks -----------------------------------------------------------------------------------------

    def grid_of(self, images: Float[Tensor, "b 3 h w"]) -> tuple[int, int]:
        """(rows, columns) of patches; raises ``ValueError`` when the sides are no multiples of the patch."""
        height, width = images.shape[-2:]
        patch = self.config.patch_size
        if height % patch or width % patch or not height or not width:
            raise ValueError(
                f"images: {height} x {width} pixels, expected multiples of the patch size {patch}"
            )
        return height // patch, width // patch

    def budget(self, num_tokens: int | None) -> int:
        """A checked token budget; None means all K."""
        most = self.config.num_latents
        if num_tokens is None:
            return most
        if not 1 <= num_tokens <= most:
            raise ValueError(f"num_tokens: got {num_tokens}, expected 1 to {most}")
        return num_tokens

    def check_tokens(self, tokens: Tensor) -> None:
        """Raise ``ValueError`` for tokens whose shape does not fit the model."""
        channels = (self.config.latent_dim,) if tokens.is_floating_point() else ()
        if tokens.dim() != 2 + len(channels) or tuple(tokens.shape[2:]) != channels:
            raise ValueError(
                f"tokens: got shape {tuple(tokens.shape)}, expected latents (b, k, {self.config.latent_dim})"
                " or integer codes (b, k)"
            )
        self.budget(tokens.shape[1])


def cut(
    states: Float[Tensor, "b K i"],
    lengths: Int[Tensor, "b"] | None,  # noqa: F821
) -> tuple[Float[Tensor, "b k i"], Bool[Tensor, "b k"] | None]:
    """Cut the sequence to the longest of ``lengths`` and mask what lies past each row's own.

    Raises:
        ValueError: when a length is below 1 or above the sequence.
    """
    if lengths is None:
        return states, None
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest < 1 or longest > states.shape[1]:
        raise ValueError(f"lengths: got {shortest} to {longest}, expected within 1 to {states.shape[1]}")
    if shortest == longest:
        return states[:, :longest], None
    positions = torch.arange(longest, device=states.device)
    return states[:, :longest], positions[None, :] < lengths.to(states.device)[:, None]


def count_parameters(module: nn.Module) -> int:
    """Trainable parameters."""
    return sum(math.prod(p.shape) for p in module.parameters() if p.requires_grad)
