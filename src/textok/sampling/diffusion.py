"""Noise prediction on a variance-preserving path (Ho et al. 2020): the paper's own form, for comparison.

x_t = sqrt(a_t) * data + sqrt(1 - a_t) * noise, with a_t the running product of 1 - beta over ``STEPS`` steps and
beta rising linearly, as in DiT. Sampling is diffusers' (``textok.pipeline.diffusion_sampling``).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

STEPS = 1000
BETA_START, BETA_END = 1e-4, 2e-2


def signal_shares() -> Float[Tensor, "n"]:
    """a_t of every step: how much of the variance is data."""
    betas = torch.linspace(BETA_START, BETA_END, STEPS, dtype=torch.float64)
    return torch.cumprod(1 - betas, dim=0)


def draw_steps(batch: int, *, generator: torch.Generator) -> Int[Tensor, "b"]:
    """Training steps, uniform."""
    return torch.randint(STEPS, (batch,), generator=generator)


def step_time(steps: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
    """A step as a time in [0, 1), which networks are told."""
    return steps.float() / STEPS


def add_noise(
    data: Float[Tensor, "b k c"], noise: Float[Tensor, "b k c"], steps: Int[Tensor, "b"]
) -> Float[Tensor, "b k c"]:
    """The noisy latents of every row's step."""
    share = signal_shares().to(data)[steps.to(data.device)][:, None, None]
    return share.sqrt() * data + (1 - share).sqrt() * noise
