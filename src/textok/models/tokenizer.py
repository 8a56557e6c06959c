"""TexTok: an image tokenizer and detokenizer that read the caption (Zha et al., CVPR 2025, arXiv 2412.05796).

Axes: b batch, h w pixels, p patch tokens, k latent tokens, K the most of them, t text tokens, d width,
i channels that the bottleneck reads, c latent channels.
"""

import math
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from textok.models.bottleneck import BottleneckConfig, KLConfig
from textok.models.checkpoint import SHIPPED, Pretrained
from textok.models.decoder import DecoderConfig, DirectConfig, Sampling
from textok.models.layers import init_linear
from textok.models.text import TextCondition
from textok.models.vit import ViTConfig, join_text, patchify
from textok.objectives import TrainingPass
from textok.sampling.random import Random

Images = Float[Tensor, "b 3 h w"]
Text = TextCondition | None
Lengths = Int[Tensor, "b"] | None


@dataclass(frozen=True, kw_only=True)
class TexTokConfig(ViTConfig):
    """Everything that fixes a tokenizer's shape.

    Attributes:
        bottleneck: what sits between encoder and decoder, with the number of latent channels c.
        decoder: how latents become pictures.
    """

    bottleneck: BottleneckConfig = field(default_factory=KLConfig)
    decoder: DecoderConfig = field(default_factory=DirectConfig)

    @property
    def latent_dim(self) -> int:
        """Latent channels c."""
        return self.bottleneck.latent_dim


@dataclass(frozen=True)
class Encoding:
    """What ``TexTok.encode`` returns.

    Attributes:
        latents: of about zero mean and unit scale per channel; what ``decode`` reads.
        codes: those of a discrete tokenizer, else None; ``decode`` reads these too.
        log_variance: that of a ``kl`` tokenizer on the scale of ``latents``, else None.
    """

    latents: Float[Tensor, "b k c"]
    codes: Int[Tensor, "b k"] | None = None
    log_variance: Float[Tensor, "b k c"] | None = None


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

    def forward(self, images: Images, text: Text, *, grid: tuple[int, int]) -> Float[Tensor, "b K i"]:
        """All K latent states of the pictures."""
        images = images.to(self.patch.weight.dtype)
        patches = self.patch(patchify(images, grid=grid)) + self.config.positions(grid, like=self.queries)
        queries = self.queries.expand(len(images), -1, -1)  # (b K d)
        tokens, keys = join_text(torch.cat([queries, patches], dim=1), None, self.text, text)  # (b K+p+t d)
        return self.output(self.transformer(tokens, keys, keep=self.config.num_latents))  # (b K i)


class TexTok(Pretrained):
    """The tokenizer: ``encode`` pictures into few tokens, ``decode`` them back, with the caption or without.

    The text encoder is not part of it: both sides read a ``TextCondition``. Latent statistics measured after training
    (``latent_mean``, ``latent_std``) live with the weights, so callers always see unit-scale latents.
    """

    config_class = TexTokConfig
    shipped = SHIPPED
    config: TexTokConfig
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: TexTokConfig) -> None:
        super().__init__()
        self.config = config
        self.bottleneck = config.bottleneck.build()
        self.encoder = TokenEncoder(config, output_dim=self.bottleneck.input_dim)
        self.decoder = config.decoder.build(config, latent_dim=config.latent_dim)
        self.register_buffer("latent_mean", torch.zeros(config.latent_dim))
        self.register_buffer("latent_std", torch.ones(config.latent_dim))

    @property
    def num_codes(self) -> int | None:
        """Size of the vocabulary of a discrete tokenizer; None for a continuous one."""
        return self.bottleneck.num_codes

    @property
    def last_layer(self) -> Tensor:
        """The weight that makes the pixels."""
        return self.decoder.last_layer

    # --- training ---------------------------------------------------------------------------------------

    def forward(
        self,
        images: Images,
        text: Text = None,
        *,
        decoder_text: Text = None,
        lengths: Lengths = None,
        generator: torch.Generator | None = None,
    ) -> TrainingPass:
        """Encode, squeeze, cut row i to its first ``lengths[i]`` latents (nested dropout), decode.

        The decoder reads ``text`` too, or ``decoder_text`` where that is given. ``generator`` serves whatever the
        bottleneck and the decoder draw.
        """
        grid = self.grid_of(images)
        states, mask = cut(self._states(images, text, lengths, grid=grid), lengths)  # (b k i), (b k)
        bottleneck = self.bottleneck(states, mask=mask, generator=generator)
        latents, text = bottleneck.latents, text if decoder_text is None else decoder_text
        estimate = self.decoder(latents, text, images=images, grid=grid, mask=mask, generator=generator)
        return TrainingPass(estimate, latents, bottleneck.loss, bottleneck.statistics)

    def _states(
        self, images: Images, text: Text, lengths: Lengths, *, grid: tuple[int, int]
    ) -> Float[Tensor, "b K i"]:
        """All K latent states; zeros, which nothing reads, for pictures that keep none: they are not encoded."""
        if lengths is None or torch.compiler.is_compiling() or lengths.min() > 0:
            return self.encoder(images, text, grid=grid)
        rows = lengths.nonzero().flatten()
        if not len(rows) and not (dist.is_available() and dist.is_initialized()):
            return images.new_zeros(len(images), self.config.num_latents, self.bottleneck.input_dim)
        rows = rows if len(rows) else rows.new_zeros(1)  # DDP waits for the gradients of all weights
        kept = self.encoder(images[rows], None if text is None else text[rows], grid=grid)
        return kept.new_zeros(len(images), *kept.shape[1:]).index_copy(0, rows.to(kept.device), kept)

    # --- use --------------------------------------------------------------------------------------------

    def encode(self, images: Images, text: Text = None, *, num_tokens: int | None = None) -> Encoding:
        """Pictures to the first ``num_tokens`` latents (default all K); a smaller budget is a prefix.

        In training mode the bottleneck does as it does in training (``kl`` draws noise, ``vq`` counts and
        moves codes): call ``eval()`` first.

        Args:
            images: values in [-1, 1]; height and width multiples of the patch size.
            text: captions, or None for none.
            num_tokens: the budget k, 1 to K.

        Raises:
            ValueError: for other sizes, budgets, or text of another encoder.
        """
        budget = self.budget(num_tokens)
        states = self.encoder(images, text, grid=self.grid_of(images))[:, :budget]
        bottleneck = self.bottleneck(states)
        latents = (bottleneck.latents - self.latent_mean) / self.latent_std
        spread = bottleneck.log_variance
        spread = None if spread is None else spread - 2 * self.latent_std.log()
        return Encoding(latents=latents, codes=bottleneck.codes, log_variance=spread)

    def decode(
        self,
        tokens: Float[Tensor, "b k c"] | Int[Tensor, "b k"],
        text: Text = None,
        *,
        grid: tuple[int, int] | None = None,
        lengths: Lengths = None,
        steps: int | None = None,
        guidance: float | None = None,
        start: float | None = None,
        generator: Random | None = None,
    ) -> Images:
        """Latents, or codes of a discrete tokenizer, to pictures.

        Args:
            tokens: (b, k, c) unit-scale latents or (b, k) integer codes, k from 1 to K.
            text: captions, or None for none.
            grid: (rows, columns) of patches; default the square of training.
            lengths: a budget for each row, at most k; default k for all.
            steps: of a decoder that samples; 0 decodes in one pass, None takes the decoder's own number.
            guidance: how strongly a decoder that samples follows the caption; 1 is plain, None takes its own value.
            start: time at which a decoder that samples begins: 1 at pure noise, below it at the picture of one pass
                with that share of noise; None takes its own value.
            generator: one, or one per picture, for the noise of a decoder that samples; by default every picture
                starts from the same noise.

        Returns:
            Pictures (b, 3, h, w) on the scale [-1, 1], not clamped.

        Raises:
            ValueError: for shapes, codes, budgets or settings that do not fit the model.
        """
        self.check_tokens(tokens)
        if tokens.is_floating_point():
            latents = tokens * self.latent_std + self.latent_mean
        else:
            latents = self.bottleneck.latents_of(tokens)
        latents, mask = cut(latents, lengths)
        grid = grid or (self.config.side, self.config.side)
        if min(grid) < 1:
            raise ValueError(f"grid: got {grid}, expected at least one row and one column of patches")
        # A literal: torch.compile cannot call a TypedDict.
        sampling: Sampling = {"steps": steps, "guidance": guidance, "start": start, "generator": generator}
        return self.decoder.decode(latents, text, grid=grid, mask=mask, **sampling)

    # --- checks -----------------------------------------------------------------------------------------

    def grid_of(self, images: Images) -> tuple[int, int]:
        """(rows, columns) of patches; raises ``ValueError`` when the sides are no multiples of the patch."""
        if images.dim() != 4 or images.shape[1] != 3:
            raise ValueError(f"images: got shape {tuple(images.shape)}, expected (b, 3, h, w)")
        height, width = images.shape[-2:]
        patch = self.config.patch_size
        if height % patch or width % patch or not height or not width:
            raise ValueError(
                f"images: got {height} x {width} pixels, expected multiples of the patch size {patch}"
            )
        return height // patch, width // patch

    def budget(self, num_tokens: int | None) -> int:
        """A checked token budget; None means all K."""
        max_tokens = self.config.num_latents
        if num_tokens is None:
            return max_tokens
        if not 1 <= num_tokens <= max_tokens:
            raise ValueError(f"num_tokens: got {num_tokens}, expected 1 to {max_tokens}")
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
    states: Float[Tensor, "b K i"], lengths: Lengths
) -> tuple[Float[Tensor, "b k i"], Bool[Tensor, "b k"] | None]:
    """Cut the sequence to the longest of ``lengths`` and mask what lies past each row's own; one is always there.

    Under ``torch.compile`` it only masks, unchecked: neither a shape nor an error can depend on values there.

    Raises:
        ValueError: when a length is below 0 or above the sequence, or there is not one per row.
    """
    if lengths is None:
        return states, None
    if lengths.shape != states.shape[:1]:
        raise ValueError(f"lengths: got shape {tuple(lengths.shape)}, expected ({len(states)},)")
    if not torch.compiler.is_compiling():
        shortest, longest = int(lengths.min()), int(lengths.max())
        if shortest < 0 or longest > states.shape[1]:
            raise ValueError(f"lengths: got {shortest} to {longest}, expected within 0 to {states.shape[1]}")
        states = states[:, : max(longest, 1)]
        if shortest == longest > 0:
            return states, None
    positions = torch.arange(states.shape[1], device=states.device)
    return states, positions[None, :] < lengths.to(states.device)[:, None]


def count_parameters(module: nn.Module) -> int:
    """Trainable parameters."""
    return sum(math.prod(p.shape) for p in module.parameters() if p.requires_grad)
