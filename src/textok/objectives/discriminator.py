"""The discriminator of the GAN loss, a residual StyleGAN-type discriminator with antialiased downsampling.

Karras et al., 2020, arXiv 1912.04958 (residual discriminator, minibatch standard deviation); widths as in TexTok's
tokenizer training (base 128, multipliers 1, 2, 4, 4, 4, 4 at 256 px: about 24M parameters).
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from textok.checks import check, check_choice

LEAK = 0.2
FINAL_GRID = 4


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Widths of a ``Discriminator``.

    Attributes:
        base: channels that a multiplier of 1 stands for.
        multipliers: one per residual block; each block halves the resolution.
        stem_stride: 1 reads pixels at full resolution; 2 starts at half of it, four times cheaper.
        group_size: images over which the minibatch standard deviation is taken.
    """

    base: int = 128
    multipliers: tuple[float, ...] = (1.0, 2.0, 4.0, 4.0, 4.0, 4.0)
    stem_stride: int = 1
    group_size: int = 4

    def __post_init__(self) -> None:
        if not self.multipliers or min(self.widths) < 1:
            raise ValueError(
                f"discriminator.multipliers: got {self.multipliers}, expected at least one, each >= 1 / base"
            )
        check_choice(self, "discriminator", stem_stride=(1, 2))
        check(self, "discriminator", "group_size", at_least=1)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels after each block; the stem is as wide as the first block."""
        return tuple(int(self.base * multiplier) for multiplier in self.multipliers)

    @property
    def reduction(self) -> int:
        """Factor from pixels to the last grid; height and width of the images must be multiples of it."""
        return self.stem_stride * 2 ** len(self.multipliers)

    @classmethod
    def for_resolution(cls, image_size: int, *, base: int = 128) -> "DiscriminatorConfig":
        """The published widths: a block at r pixels has base * 256 / r channels, at most 4 * base, to a 4 x 4 grid.

        ``ValueError`` when ``image_size`` is under 8.
        """
        sizes = [image_size >> block for block in range(_num_halvings(image_size))]
        return cls(base=base, multipliers=tuple(min(4.0, 256 / 2 ** int(math.log2(size))) for size in sizes))

    @classmethod
    def small(cls, image_size: int) -> "DiscriminatorConfig":
        """One for training on a CPU: half resolution from the stem on, 32 to 192 channels (128 px: 1.5M parameters).

        ``ValueError`` when ``image_size`` is under 16.
        """
        multipliers = [0.5, 1.0, 2.0] + [3.0] * 16
        return cls(base=64, multipliers=tuple(multipliers[: _num_halvings(image_size // 2)]), stem_stride=2)


def _num_halvings(size: int) -> int:
    if size < 2 * FINAL_GRID:
        raise ValueError(
            f"image_size: got {size} pixels at the first block, expected at least {2 * FINAL_GRID}"
        )
    return int(math.log2(size / FINAL_GRID))


def blur_downsample(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c y x"]:
    """Halve the resolution with the filter (1, 3, 3, 1) / 8 along each axis, zero-padded at the border.

    Written as (1, 2, 1) / 4 at stride 1, then the mean of 2 x 2: the same filter, without the strided depthwise
    convolution whose backward is slow on the CPU in bf16. The taps are computed, not stored: DistributedDataParallel
    would rewrite a buffer between the two forward passes of a discriminator step.
    """
    channels = x.shape[1]
    taps = (2 - torch.arange(-1, 2, device=x.device, dtype=x.dtype).abs()) / 4
    kernel = torch.outer(taps, taps).expand(channels, 1, 3, 3)
    return F.avg_pool2d(F.conv2d(x, kernel, padding=1, groups=channels), 2)


class ResidualBlock(nn.Module):
    """Two convolutions with a blurred halving between them, and a blurred 1x1 skip; variance kept by 1 / sqrt(2)."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(fan_in, fan_in, 3, padding=1)
        self.second = nn.Conv2d(fan_in, fan_out, 3, padding=1)
        self.skip = nn.Conv2d(fan_in, fan_out, 1, bias=False)

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o y x"]:
        """Features at half the resolution."""
        y = blur_downsample(F.leaky_relu(self.first(x), LEAK))
        y = F.leaky_relu(self.second(y), LEAK)
        return (y + self.skip(blur_downsample(x))) * math.sqrt(0.5)


def minibatch_deviation(x: Float[Tensor, "b c h w"], *, group_size: int) -> Float[Tensor, "b 1 h w"]:
    """Standard deviation over groups of the batch, averaged to one number per group, as an extra channel.

    It lets the discriminator see a lack of variety. Groups have the largest size up to ``group_size`` that divides the
    batch.
    """
    batch = len(x)
    size = next(size for size in range(min(group_size, batch), 0, -1) if batch % size == 0)
    grouped = x.float().unflatten(0, (size, batch // size))
    deviation = (grouped.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    return deviation.repeat(size).to(x.dtype)[:, None, None, None].expand(-1, 1, *x.shape[2:])


class Discriminator(nn.Module):
    """Images in [-1, 1] to one logit each (high for real), at any size that is a multiple of ``config.reduction``.

    The last grid is 4 x 4 at the size the config was made for; other sizes are averaged to it.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        widths, stride = config.widths, config.stem_stride
        self.stem = nn.Conv2d(3, widths[0], 3 if stride == 1 else 4, stride=stride, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(i, o) for i, o in pairwise((widths[0], *widths))))
        self.last = nn.Conv2d(widths[-1] + 1, widths[-1], 3, padding=1)
        self.hidden = nn.Linear(widths[-1] * FINAL_GRID**2, widths[-1])
        self.head = nn.Linear(widths[-1], 1)
        self.apply(_initialise)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b"]:
        """One logit per image; ``ValueError`` when height or width is not a multiple of ``config.reduction``."""
        factor = self.config.reduction
        if images.shape[2] % factor or images.shape[3] % factor:
            raise ValueError(
                f"images: got height and width {tuple(images.shape[2:])}, expected multiples of {factor}"
            )
        x = self.blocks(F.leaky_relu(self.stem(images.contiguous(memory_format=torch.channels_last)), LEAK))
        x = torch.cat([x, minibatch_deviation(x, group_size=self.config.group_size)], dim=1)
        x = F.leaky_relu(self.last(x), LEAK)
        if x.shape[2:] != (FINAL_GRID, FINAL_GRID):
            x = F.adaptive_avg_pool2d(x, FINAL_GRID)
        return self.head(F.leaky_relu(self.hidden(x.flatten(1)), LEAK)).squeeze(1).float()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, a=LEAK)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
