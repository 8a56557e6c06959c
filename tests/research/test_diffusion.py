"""Noise-prediction samplers end where the data are, for any number of steps."""

import pytest
import torch
from torch import Tensor

from research.diffusion_comparison.diffusion import BETA_END, BETA_START, STEPS, sample

MEAN, DEVIATION = 2.0, 0.5
KEPT = torch.cumprod(1 - torch.linspace(BETA_START, BETA_END, STEPS, dtype=torch.float64), dim=0)


def exact_noise(x: Tensor, time: float) -> Tensor:
    """The best prediction of the noise in data that are normal."""
    kept = KEPT[round(time * STEPS)]
    spread = kept * DEVIATION**2 + 1 - kept
    return (1 - kept).sqrt() / spread * (x - kept.sqrt() * MEAN)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("steps", [24, 250, 501, 600])
@pytest.mark.slow
def test_a_normal_distribution_comes_back(sampler: str, steps: int) -> None:
    noise = torch.randn(4000, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made = sample(
        exact_noise, noise, sampler=sampler, steps=steps,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert float(made.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(made.std()) == pytest.approx(DEVIATION, abs=0.1 if steps < 100 else 0.03)
