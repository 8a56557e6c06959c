"""The decoder that generates: latents to pixels by rectified flow, or in one pass by the same weights.

The network reads noisy pictures beside the latents and predicts the clean ones (x-prediction: Li and He 2025, arXiv
2511.13720). Times run from 0 (the picture) to 1 (pure noise), as in ``textok.sampling.flow``. A row that is decoded
directly sees neither a noisy picture nor a time: before training it comes out exactly as from ``DirectDecoder``.

Axes: b batch, h w pixels, p patch tokens, k latent tokens, d width, c latent channels.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from textok.checks import check
from textok.models.decoder.direct import DirectDecoder
from textok.models.layers import TimeEmbedding, init_linear
from textok.models.text import TextCondition
from textok.models.vit import ViTConfig, patchify, unpatchify
from textok.objectives import Estimate
from textok.sampling.flow import Guidance, Predict, TimeMixture, add_noise, sample_adams, time_grid
from textok.sampling.random import Random, normal

DETAIL_CHANNELS = 32
Pictures = Float[Tensor, "b 3 h w"]
Denoise = Callable[..., Pictures]


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

    def time_mixture(self) -> TimeMixture:
        """How training draws times."""
        return TimeMixture(
            direct_share=self.direct_share,
            uniform_share=self.uniform_share,
            mean=self.time_mean,
            std=self.time_std,
        )


class FlowDecoder(DirectDecoder):
    """[noisy patches + queries ; time ; latents ; text] -> modulated ViT -> keep the patches -> pixels -> detailer.

    The weights that a ``DirectDecoder`` has too bear the same names.
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
        self,
        latents: Float[Tensor, "b k c"],
        text: TextCondition | None,
        *,
        images: Pictures,
        grid: tuple[int, int],
        mask: Bool[Tensor, "b k"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        """The training pass: a share of the rows directly, the others from noisy pictures."""
        times, is_direct = self.settings.time_mixture().draw(
            len(images), generator=generator, device=images.device
        )
        noise = torch.randn(images.shape, generator=generator, device=images.device)
        noisy = add_noise(images.float(), noise, times)
        estimates = self.denoise(
            latents, text, grid=grid, mask=mask, noisy=noisy, times=times, is_direct=is_direct
        )
        return Estimate(images=estimates, times=times, is_direct=is_direct)

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
    ) -> Pictures:
        """Sample pictures, or decode them directly with 0 steps.

        Raises:
            ValueError: for settings out of range, or guidance of a decoder that reads no captions.
        """
        steps = self.settings.steps if steps is None else steps
        start = self.settings.start if start is None else start
        scale = self.settings.guidance if guidance is None else guidance
        self._check_sampling(steps, scale, start, is_explicit=guidance is not None)
        denoise = partial(self.denoise, latents, grid=grid, mask=mask)
        if steps == 0:
            return denoise(text)
        rows, columns = grid
        shape = (len(latents), 3, rows * self.config.patch_size, columns * self.config.patch_size)
        x = normal(shape, generator or _same_noise(len(latents)), device=latents.device)
        if start < 1:
            x = add_noise(denoise(text), x, x.new_full((len(x),), start))
        guide = Guidance(scale=scale, interval=self.settings.guidance_interval)
        times = time_grid(steps, power=self.settings.time_power, start=start)
        return sample_adams(_velocity(denoise, text, guide), x, times)

    def denoise(
        self,
        latents: Float[Tensor, "b k c"],
        text: TextCondition | None,
        *,
        grid: tuple[int, int],
        mask: Bool[Tensor, "b k"] | None = None,
        noisy: Pictures | None = None,
        times: Float[Tensor, "b"] | None = None,
        is_direct: Bool[Tensor, "b"] | None = None,
    ) -> Pictures:
        """Estimates of the clean pictures in one pass.

        Args:
            latents, text, grid, mask: as for ``decode``.
            noisy: pictures with the share ``times`` of noise; None to decode all rows directly.
            times: of each row.
            is_direct: rows that do not see their noisy picture; None for no such row.
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
            front_mask = sees_noisy[:, None] | (
                torch.arange(num_patches + 1, device=front.device) < num_patches
            )
        tokens, keys = self.sequence(front, latents, text, mask=mask, front_mask=front_mask)
        modulation = self.modulation(nn.functional.silu(state))  # (b 6d)
        keys = replace(keys, front=front.shape[1])
        states = self.transformer(tokens, keys, modulation, keep=num_patches)
        images = unpatchify(self.output(states), grid=grid, patch_size=self.config.patch_size)
        return self.detailer(images, noisy).float()

    def _check_sampling(self, steps: int, guidance: float, start: float, *, is_explicit: bool) -> None:
        if steps < 0:
            raise ValueError(f"steps: got {steps}, expected 0 (one pass) or more")
        if not 0 < start <= 1:
            raise ValueError(f"start: got {start}, expected a time above 0, at most 1")
        if not is_explicit or guidance == 1:
            return
        if steps == 0:
            raise ValueError(f"guidance: got {guidance} with 0 steps, expected 1: one pass has no guidance")
        if self.text is None:
            raise ValueError(f"guidance: got {guidance}, expected 1: this decoder reads no captions")


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


def _velocity(denoise: Denoise, text: TextCondition | None, guidance: Guidance) -> Predict:
    """The flow's direction; guidance compares with the same latents without a caption, and only where it acts."""

    def predict(x: Pictures, time: float) -> Pictures:
        times = x.new_full((len(x),), time)
        images = denoise(text, noisy=x, times=times)
        if text is not None and guidance.acts(time):
            images = guidance.combine(images, denoise(None, noisy=x, times=times))
        return (x - images) / time

    return predict


def _same_noise(count: int) -> list[torch.Generator]:
    """A generator per picture, all alike: a picture never depends on those beside it."""
    return [torch.Generator().manual_seed(0) for _ in range(count)]
