"""Samplers of noise-prediction models: the schedulers of diffusers, on our latents (extra ``[diffusion]``)."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from textok.sampling.diffusion import BETA_END, BETA_START, STEPS
from textok.sampling.flow import OnStep, Predict
from textok.sampling.random import Random


def scheduler(sampler: str) -> Any:
    """The diffusers scheduler of a name, on the linear betas that training uses.

    DDIM is DPM-Solver of the first order (Lu et al. 2022, arXiv 2206.00927, section 4.1). Both begin at pure
    noise for any number of steps; diffusers' DDIMScheduler does so only for one that divides the steps of training.

    Raises:
        ValueError: for another name, or when diffusers is not installed.
    """
    if sampler not in ("ddim", "ddpm"):
        raise ValueError(f"sampler: got {sampler!r}; a noise-prediction generator takes ddim or ddpm")
    try:
        from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
    except ImportError as error:
        raise ValueError(
            "sampling a noise-prediction generator needs diffusers: pip install 'open-textok[diffusion]'"
        ) from error
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


def sample_diffusion(
    predict: Predict,
    noise: Float[Tensor, "b k c"],
    *,
    sampler: str,
    steps: int,
    generator: Random,
    on_step: OnStep | None = None,
) -> Float[Tensor, "b k c"]:
    """From noise to data in ``steps`` of the 1,000 training steps.

    Raises:
        ValueError: for an unknown sampler or more steps than were trained.
    """
    if not 1 <= steps <= STEPS:
        raise ValueError(f"steps: got {steps}; a noise-prediction generator takes 1 to {STEPS}")
    made = scheduler(sampler)
    made.set_timesteps(steps)
    x = noise
    for index, step in enumerate(made.timesteps.tolist()):
        x = made.step(predict(x, step / STEPS), step, x, generator=generator).prev_sample
        if on_step is not None:
            on_step(index + 1)
    return x
