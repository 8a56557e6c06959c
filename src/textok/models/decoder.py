"""How latents become pictures: in one pass (direct), as in the paper, or by a flow from noise (flow).

Every decoder maps latents, with the caption or without, to pictures. In training it returns an ``Estimate``, which the
objective judges.

Axes: b batch, h w pixels, p patch tokens, k latent tokens, t text tokens, d width, c latent channels.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, TypedDict, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from textok.checks import check
from textok.models.attention import KeyMask
from textok.models.layers import TimeEmbedding, init_linear
from textok.models.text import TextCondition
from textok.models.vit import ViTConfig, join_text, patchify, unpatchify
from textok.objectives import Estimate
from textok.sampling.flow import Guidance, Predict, add_noise, draw_mixed_times, sample, time_grid
from textok.sampling.random import Random, normal

__all__ = ["DecoderConfig", "DirectConfig", "DirectDecoder", "FlowDecoder", "FlowDecoderConfig"]

DETAIL_CHANNELS = 32
Latents = Float[Tensor, "b k c"]
Present = Bool[Tensor, "b k"] | None
Pictures = Float[Tensor, "b 3 h w"]
Text = TextCondition | None
Grid = tuple[int, int]
Draws = torch.Generator | None


class Sampling(TypedDict, total=False):
    """How a decoder that samples does it; see ``TexTok.decode``."""

    steps: int | None
    guidance: float | None
    start: float | None
    generator: Random | None


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
        """The weight that makes the pixels; the adaptive weight of a GAN loss is measured there."""
        return self.output.weight

    def forward(
        self, latents: Latents, text: Text, *, images: Pictures, grid: Grid, mask: Present, generator: Draws
    ) -> Estimate:
        """The training pass: estimates of ``images``, with what the losses must know of them.

        ``mask`` is False at the tail of rows with a smaller budget; a decoder may draw from ``generator``.
        """
        return Estimate(images=self.decode(latents, text, grid=grid, mask=mask))

    def decode(
        self, latents: Latents, text: Text, *, grid: Grid, mask: Present = None, **sampling: Unpack[Sampling]
    ) -> Pictures:
        """Pictures on the scale [-1, 1], not clamped; here nothing is drawn.

        Raises:
            ValueError: for steps, guidance or a start, which need a flow decoder.
        """
        for name, expected in {"steps": 0, "guidance": 1.0, "start": 1.0}.items():
            if (value := sampling.get(name)) is not None and value != expected:
                raise ValueError(
                    f"{name}: got {value}, expected {expected}: this tokenizer's decoder is direct; "
                    "leave it out, or use a tokenizer with a flow decoder"
                )
        queries = self.patch_queries(grid, batch=len(latents))
        tokens, keys = self.sequence(queries, latents, text, mask=mask)  # (b p+k+t d)
        patches = self.output(self.transformer(tokens, keys, keep=queries.shape[1]))  # (b p 3*patch*patch)
        return unpatchify(patches, grid=grid, patch_size=self.config.patch_size).float()

    def patch_queries(self, grid: Grid, *, batch: int) -> Float[Tensor, "b p d"]:
        """The learned query at every patch's position."""
        return (self.query + self.config.positions(grid, like=self.query)).expand(batch, -1, -1)

    def sequence(
        self,
        front: Float[Tensor, "b s d"],
        latents: Latents,
        text: Text,
        *,
        mask: Present,
        front_mask: Bool[Tensor, "b s"] | None = None,
    ) -> tuple[Float[Tensor, "b r d"], KeyMask]:
        """``front``, the latents, then the caption; each mask is None where all positions are present."""
        tokens = self.latent(latents.to(self.query.dtype)) + self.latent_positions[: latents.shape[1]]
        if mask is not None or front_mask is not None:
            masks = zip((front_mask, mask), (front, tokens), strict=True)
            every = [x.new_ones(x.shape[:2], dtype=torch.bool) if part is None else part for part, x in masks]
            mask = torch.cat(every, dim=1)
        return join_text(torch.cat([front, tokens], dim=1), mask, self.text, text)


# --- the decoder that generates ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FlowDecoderConfig:
    """Pixels by rectified flow: how training draws times, and how pictures are sampled unless a call says otherwise.

    Attributes:
        patch_channels: width of the bottleneck through which noisy patches enter.
        direct_share: share of training rows that are decoded in one pass, without noise.
        uniform_share: share of training rows with uniform times, a third of them at pure noise, where colours are
            decided.
        time_mean, time_std: of the normal whose sigmoid is the time of the other rows; above 0 leans to the noise.
        steps: of the sampler; 0 decodes in one pass.
        guidance: how strongly the caption is followed; 1 is plain.
        guidance_interval: times within which guidance acts.
        time_power: above 1 takes more steps near the picture.
        start: time at which sampling begins; below 1 it begins at the direct picture with this share of noise.
    """

    kind: ClassVar[str] = "flow"

    patch_channels: int = 128
    direct_share: float = 0.25
    uniform_share: float = 0.15
    time_mean: float = 0.4
    time_std: float = 0.9
    steps: int = 8
    guidance: float = 1.0
    guidance_interval: tuple[float, float] = (0.1, 0.9)
    time_power: float = 2.0
    start: float = 1.0

    def __post_init__(self) -> None:
        check(self, "decoder", "patch_channels", at_least=1)
        check(self, "decoder", "direct_share", "uniform_share", at_least=0, at_most=1)
        check(self, "decoder", "steps", at_least=0)
        check(self, "decoder", "time_std", "time_power", above=0)
        check(self, "decoder", "start", above=0, at_most=1)
        if self.direct_share + self.uniform_share > 1:
            raise ValueError(
                f"decoder.direct_share: got {self.direct_share} beside uniform_share {self.uniform_share}, "
                "expected at most 1 together"
            )
        Guidance(scale=self.guidance, interval=self.guidance_interval)

    def build(self, config: ViTConfig, *, latent_dim: int) -> "FlowDecoder":
        """The module of this configuration."""
        return FlowDecoder(config, self, latent_dim=latent_dim)


class FlowDecoder(DirectDecoder):
    """[noisy patches + queries ; time ; latents ; text] -> modulated ViT -> keep the patches -> pixels -> detailer.

    The network reads noisy pictures beside the latents and predicts the clean ones (x-prediction: Li and He 2025,
    arXiv 2511.13720). Times run from 0 (the picture) to 1 (pure noise), as in ``textok.sampling.flow``. A row that is
    decoded directly sees neither a noisy picture nor a time: before training it comes out exactly as from
    ``DirectDecoder``, whose weights bear the same names here.
    """

    modulated = True

    def __init__(self, config: ViTConfig, settings: FlowDecoderConfig, *, latent_dim: int) -> None:
        if config.patch_size % 2:
            raise ValueError(
                f"model.patch_size: got {config.patch_size}, expected an even number with a flow decoder"
            )
        super().__init__(config, latent_dim=latent_dim)
        self.settings = settings
        pixels, dim = 3 * config.patch_size**2, config.dim
        self.noisy = nn.Sequential(
            nn.Linear(pixels, settings.patch_channels, bias=False), nn.Linear(settings.patch_channels, dim)
        )
        self.time = TimeEmbedding(dim)
        self.direct = nn.Parameter(torch.zeros(dim))  # stands in for the time of rows decoded directly
        self.modulation = nn.Linear(dim, 6 * dim)  # one for all blocks, each of which adds its own offsets
        for module in (self.noisy, self.time):
            init_linear(module)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.detailer = Detailer()

    def forward(
        self, latents: Latents, text: Text, *, images: Pictures, grid: Grid, mask: Present, generator: Draws
    ) -> Estimate:
        """The training pass: a share of the rows directly, the others from noisy pictures."""
        settings, drawn = self.settings, {"generator": generator, "device": images.device}
        shares = {"direct_share": settings.direct_share, "uniform_share": settings.uniform_share}
        rest = {"mean": settings.time_mean, "std": settings.time_std}
        times, is_direct = draw_mixed_times(len(images), **shares, **rest, **drawn)
        noise = torch.randn(images.shape, **drawn)
        seen = {"noisy": add_noise(images.float(), noise, times), "times": times, "is_direct": is_direct}
        estimates = self.denoise(latents, text, grid=grid, mask=mask, **seen)
        return Estimate(images=estimates, times=times, is_direct=is_direct)

    def decode(
        self, latents: Latents, text: Text, *, grid: Grid, mask: Present = None, **sampling: Unpack[Sampling]
    ) -> Pictures:
        """Sample pictures, or decode them directly with 0 steps.

        Raises:
            ValueError: for settings out of range, or guidance of a decoder that reads no captions.
        """
        steps, guidance, start = self._settings_of(sampling)
        denoise = partial(self.denoise, latents, grid=grid, mask=mask)
        if steps == 0:
            return denoise(text)
        rows, columns = grid
        shape = (len(latents), 3, rows * self.config.patch_size, columns * self.config.patch_size)
        same_noise = [torch.Generator().manual_seed(0) for _ in latents]  # whichever pictures are beside one
        x = normal(shape, sampling.get("generator") or same_noise, device=latents.device)
        if start < 1:
            x = add_noise(denoise(text), x, x.new_full((len(x),), start))
        guide = Guidance(scale=guidance, interval=self.settings.guidance_interval)
        times = time_grid(steps, power=self.settings.time_power, start=start)
        return sample(_velocity(denoise, text, guide), x, times, sampler="adams")

    def denoise(
        self,
        latents: Latents,
        text: Text,
        *,
        grid: Grid,
        mask: Present = None,
        noisy: Pictures | None = None,
        times: Float[Tensor, "b"] | None = None,
        is_direct: Bool[Tensor, "b"] | None = None,
    ) -> Pictures:
        """Estimates of the clean pictures in one pass, from ``noisy`` ones with the share ``times`` of noise.

        Without them all rows are decoded directly, else those of ``is_direct``, which do not see their noisy picture.
        """
        front = self.patch_queries(grid, batch=len(latents))  # (b p d)
        num_patches, front_mask = front.shape[1], None
        state = self.direct.expand(len(latents), -1)  # (b d)
        if noisy is not None and times is not None:
            sees_noisy = torch.ones_like(times, dtype=torch.bool) if is_direct is None else ~is_direct
            noisy = torch.where(sees_noisy[:, None, None, None], noisy, 0.0)
            state = torch.where(sees_noisy[:, None], self.time(times), state)
            embedded = self.noisy(patchify(noisy.to(front.dtype), grid=grid)) * sees_noisy[:, None, None]
            front = torch.cat([front + embedded, state[:, None]], dim=1)  # (b p+1 d)
            is_patch = torch.arange(num_patches + 1, device=front.device) < num_patches
            front_mask = sees_noisy[:, None] | is_patch
        tokens, keys = self.sequence(front, latents, text, mask=mask, front_mask=front_mask)
        modulation = self.modulation(nn.functional.silu(state))  # (b 6d)
        keys = replace(keys, front=front.shape[1])
        states = self.transformer(tokens, keys, modulation, keep=num_patches)
        images = unpatchify(self.output(states), grid=grid, patch_size=self.config.patch_size)
        return self.detailer(images, noisy).float()

    def _settings_of(self, sampling: Sampling) -> tuple[int, float, float]:
        steps, guidance, start = sampling.get("steps"), sampling.get("guidance"), sampling.get("start")
        steps = self.settings.steps if steps is None else steps
        start = self.settings.start if start is None else start
        if steps < 0:
            raise ValueError(f"steps: got {steps}, expected 0 (one pass) or more")
        if not 0 < start <= 1:
            raise ValueError(f"start: got {start}, expected a time above 0, at most 1")
        if guidance is None:
            return steps, self.settings.guidance, start
        if guidance != 1 and steps == 0:
            raise ValueError(f"guidance: got {guidance} with 0 steps, expected 1: one pass has no guidance")
        if guidance != 1 and self.text is None:
            raise ValueError(f"guidance: got {guidance}, expected 1: this decoder reads no captions")
        return steps, guidance, start


class Detailer(nn.Module):
    """Small convolutions across patch borders, at half the side, against seams; adds nothing before training."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(6 * 4, DETAIL_CHANNELS, 3, padding=1)
        self.last = nn.Conv2d(DETAIL_CHANNELS, 3 * 4, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, images: Pictures, noisy: Pictures | None) -> Pictures:
        """Estimates with details, from what the patches gave and the noisy pictures they came from."""
        noisy = torch.zeros_like(images) if noisy is None else noisy.to(images.dtype)
        x = nn.functional.pixel_unshuffle(torch.cat([images, noisy], dim=1), 2)  # (b 24 h/2 w/2)
        x = x.contiguous(memory_format=torch.channels_last)  # a third of the time on a processor
        details = self.last(nn.functional.silu(self.first(x)))
        return images + nn.functional.pixel_shuffle(details, 2)


def _velocity(denoise: Callable[..., Pictures], text: Text, guidance: Guidance) -> Predict:
    """The flow's direction; guidance compares with the same latents without a caption, and only where it acts."""

    def predict(x: Pictures, time: float) -> Pictures:
        times = x.new_full((len(x),), time)
        images = denoise(text, noisy=x, times=times)
        if text is not None and guidance.acts(time):
            images = guidance.combine(images, denoise(None, noisy=x, times=times))
        return (x - images) / time

    return predict


DecoderConfig = DirectConfig | FlowDecoderConfig
