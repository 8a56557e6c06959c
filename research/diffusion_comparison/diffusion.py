"""Noise prediction on a variance-preserving path (Ho et al. 2020), the paper's own form, and its samplers.

x_t = sqrt(a_t) * data + sqrt(1 - a_t) * noise, with a_t the running product of 1 - beta over ``STEPS`` steps and
beta rising linearly, as in DiT. Sampling is that of diffusers.
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

STEPS = 1000
BETA_START, BETA_END = 1e-4, 2e-2


def signal_shares() -> Tensor:
    """a_t of every step: how much of the variance is data."""
    betas = torch.linspace(BETA_START, BETA_END, STEPS, dtype=torch.float64)
    return torch.cumprod(1 - betas, dim=0)


def add_noise(data: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
    """The noisy latents (b, k, c) of every row's step (b,)."""
    share = signal_shares().to(data)[steps][:, None, None]
    return share.sqrt() * data + (1 - share).sqrt() * noise


def scheduler(sampler: str) -> Any:
    """The scheduler "ddim" or "ddpm" on the linear betas of training.

    DDIM is DPM-Solver of the first order (Lu et al. 2022, arXiv 2206.00927, section 4.1). Both begin at pure
    noise for any number of steps; diffusers' DDIMScheduler does so only for one that divides the steps of training.
    """
    betas: dict[str, Any] = {
        "num_train_timesteps": STEPS,
        "beta_start": BETA_START,
        "beta_end": BETA_END,
        "beta_schedule": "linear",
        "timestep_spacing": "trailing",
    }
    if sampler == "ddim":
        return DPMSolverMultistepScheduler(**betas, solver_order=1)
    return DDPMScheduler(**betas, clip_sample=False)


def sample(
    predict: Callable[[Tensor, float], Tensor],
    noise: Tensor,
    *,
    sampler: str,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """From noise to data in ``steps`` of the 1,000 training steps."""
    schedule = scheduler(sampler)
    schedule.set_timesteps(steps)
    x = noise
    for step in schedule.timesteps.tolist():
        x = schedule.step(predict(x, step / STEPS), step, x, generator=generator).prev_sample
    return x
