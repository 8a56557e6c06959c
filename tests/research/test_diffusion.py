"""Noise-prediction samplers end where the data are, for any number of steps."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from research import command
from research.diffusion_comparison import compare
from research.diffusion_comparison.diffusion import BETA_END, BETA_START, STEPS, sample
from textok.models.bottleneck import FSQConfig, KLConfig

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


def test_the_comparison_runs_and_is_recorded(
    tmp_path: Path,
    make_latents: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Few steps of few pictures: that both arms train, sample and are scored, not which one is better."""
    samplers = {"flow": [("euler", 3)], "noise": [("ddim", 3), ("ddpm", 3)]}
    monkeypatch.setattr(compare, "SAMPLERS", samplers)
    latents, out = str(make_latents(tmp_path, KLConfig(latent_dim=4))), tmp_path / "out.json"
    words = ["--recipe", "toy-dit", "--steps", "2", "--out", str(out)]
    assert command.run(compare.compare, ["--data", latents, "--held-out", latents, *words], prog="x") == 0
    record = json.loads(out.read_text())
    found = [(row["arm"], row["sampler"]) for row in record["rows"]]
    assert found == [(arm, name) for arm, chosen in samplers.items() for name, _ in chosen]
    assert all(row["fd_latents"] > 0 for row in record["rows"])
    assert record["settings"]["steps"] == 2 and record["made_by"]["libraries"]
    codes = str(make_latents(tmp_path / "codes", FSQConfig(levels=(8, 5, 5, 5))))
    assert command.run(compare.compare, ["--data", codes, "--held-out", codes, *words], prog="x") == 2
    assert "x: error: " in capsys.readouterr().err
