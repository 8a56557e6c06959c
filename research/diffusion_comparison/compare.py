"""Rectified flow against noise prediction: one DiT, one latent cache, the same draws; see README.md."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from research import command
from research.diffusion_comparison.diffusion import STEPS, add_noise, sample
from textok.cli import checks
from textok.data.latents import LatentBatch, LatentCache, LatentLoader
from textok.evaluation.metrics.sets import FeatureStatistics, frechet_distance
from textok.models.dit import DiT, DiTConfig
from textok.recipes import GENERATOR_RECIPES, find_recipe
from textok.sampling.flow import FlowConfig, draw_times, time_grid, velocity_target
from textok.sampling.flow import add_noise as add_flow_noise
from textok.sampling.flow import sample as sample_flow
from textok.sampling.random import seeded
from textok.training.generator.config import GeneratorRun, fitted
from textok.training.generator.step import condition_of
from textok.training.optimizers import build_optimizers, learning_rate, set_learning_rate
from textok.training.run import drop_rows
from textok.training.run_folder import environment
from textok.writing import write_json


def compare(
    *,
    data: str,
    held_out: str,
    recipe: str = "icons-64-dit",
    steps: int = 2000,
    seed: int = 0,
    out: Path = Path("diffusion_comparison.json"),
) -> None:
    """Train both arms, sample both, and write the table.

    Args:
        data: folder of cached training latents.
        held_out: folder of cached latents of other pictures.
        recipe: of a generator with a DiT.
        steps: of each training.
        seed: of the weights, the draws and the samples.
        out: file of the record.
    """
    checks.at_least(1, steps=steps)
    checks.seed(seed)
    checks.files(out=out)
    cache, others = LatentCache.open(data), LatentCache.open(held_out)
    batch = others.batch(range(min(len(others), 1000)))
    run = replace(find_recipe(recipe, GENERATOR_RECIPES)(), latents=data, steps=steps, seed=seed)
    rows: list[dict[str, Any]] = []
    for arm in ("flow", "noise"):
        model = train(arm, run, cache)
        for sampler, count in SAMPLERS[arm]:
            latents = draw(model, batch, sampler=sampler, steps=count, seed=seed)
            both = (FeatureStatistics.of(tokens.flatten(1)) for tokens in (latents, latents_of(batch)))
            distance = frechet_distance(*both)
            rows.append({"arm": arm, "sampler": sampler, "steps": count, "fd_latents": distance})
            print(rows[-1])
    settings = {"data": data, "held_out": held_out, "recipe": recipe, "steps": steps, "seed": seed}
    write_json(out, {"settings": settings, "made_by": environment(), "rows": rows})


SAMPLERS = {
    "flow": [("euler", 24), ("euler", 50), ("euler", 250)],
    "noise": [(sampler, steps) for sampler in ("ddim", "ddpm") for steps in (24, 50, 250)],
}


def train(arm: str, run: GeneratorRun, cache: LatentCache) -> DiT:
    """Train the recipe's DiT on one of the two objectives."""
    run = fitted(run, cache.manifest)
    if not isinstance(run.model, DiTConfig):
        raise ValueError(f"recipe: got {run.name} with a MaskGIT, expected one with a DiT")
    torch.manual_seed(run.seed)
    model = DiT(run.model).train()
    optimizers = build_optimizers(model, run.optimizer)
    loader = LatentLoader(cache, batch_size=run.batch_size, seed=run.seed)
    for step in range(run.steps):
        set_learning_rate(optimizers, learning_rate(run.optimizer, step=step, steps=run.steps))
        draws = seeded(run.seed, step, "rank 0")
        loss = LOSSES[arm](model, next(loader), draws, run.condition_dropout)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), run.optimizer.clip_norm)
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)
    return model.eval()


def latents_of(batch: LatentBatch) -> Tensor:
    """The latents of a batch of a continuous tokenizer."""
    if batch.latents is None:
        raise ValueError("data: got codes, expected the latents of a continuous tokenizer")
    return batch.latents


def flow_loss(model: DiT, batch: LatentBatch, draws: torch.Generator, dropout: float) -> Tensor:
    """Squared error of the velocity."""
    condition = condition_of(batch, kind=model.config.condition.kind)
    condition = condition.dropped(drop_rows(len(batch.keys), dropout, generator=draws))
    noise = torch.randn(latents_of(batch).shape, generator=draws)
    times = draw_times(FlowConfig(), len(noise), generator=draws)
    velocity = model(add_flow_noise(latents_of(batch), noise, times), times, condition)
    return (velocity - velocity_target(latents_of(batch), noise)).square().mean()


def noise_loss(model: DiT, batch: LatentBatch, draws: torch.Generator, dropout: float) -> Tensor:
    """Squared error of the noise."""
    condition = condition_of(batch, kind=model.config.condition.kind)
    condition = condition.dropped(drop_rows(len(batch.keys), dropout, generator=draws))
    noise = torch.randn(latents_of(batch).shape, generator=draws)
    steps = torch.randint(STEPS, (len(noise),), generator=draws)
    prediction = model(add_noise(latents_of(batch), noise, steps), steps / STEPS, condition)
    return (prediction - noise).square().mean()


LOSSES: dict[str, Callable[[DiT, LatentBatch, torch.Generator, float], Tensor]] = {
    "flow": flow_loss,
    "noise": noise_loss,
}


@torch.inference_mode()
def draw(model: DiT, batch: LatentBatch, *, sampler: str, steps: int, seed: int) -> Tensor:
    """As many latents as the held-out batch has, for its conditions and without guidance."""
    condition = condition_of(batch, kind=model.config.condition.kind)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(latents_of(batch).shape, generator=generator)

    def predict(x: Tensor, time: float) -> Tensor:
        return model(x, torch.full((len(x),), time), condition)

    if sampler == "euler":
        return sample_flow(predict, noise, time_grid(steps))
    return sample(predict, noise, sampler=sampler, steps=steps, generator=generator)


if __name__ == "__main__":
    sys.exit(command.run(compare, prog="python -m research.diffusion_comparison.compare"))
