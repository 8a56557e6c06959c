"""The plane of patches: positions, and pictures cut into patches and put together again.

Axes: b batch, h w pixels, p patches, d width, i values of a patch.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def grid_positions(
    grid: tuple[int, int],
    *,
    dim: int,
    trained_side: int,
    device: torch.device | None = None,
) -> Float[Tensor, "p d"]:
    """2-D sine-cosine positions of unit variance for a (rows, columns) grid of patches, row by row.

    Coordinates are centred, and scaled so that the longer side spans what ``trained_side`` patches span:
    at the trained grid the step is one, and other resolutions or shapes see the same picture plane.
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
