"""The part of ``textok demo`` that generates: prompts of known things, unknown ones, and new combinations."""

import statistics
import time

import torch

from textok.evaluation.pages.report import PromptCard, PromptSection
from textok.pipeline.generation import Pipeline

PROMPTS = {
    "a glossy 3D emoji of a red apple; food, fruit": "",
    "a flat vector emoji of a cat face, on a teal background; animal": "",
    "a clip art drawing of a house, in black and white": "",
    "a simple flat-colored emoji of a woman firefighter with dark skin; person": "",
    "a blue car": "A bare prompt: no style, no keywords.",
    "a green cat wearing a crown": "A combination that no training picture shows.",
    "a purple banana, on a yellow background": "A color that no training picture has.",
    "a glossy 3D emoji of a flying bicycle; transport": "A combination that no training picture shows.",
}
BUDGETS = (8, 16, 32)
PICTURES = 4
TIMED_ROUNDS = 3


def generate_prompts(pipeline: Pipeline, *, seed: int = 0) -> PromptSection:
    """All prompts at all budgets from the same noise, and the time that a picture takes.

    Args:
        pipeline: of a text-conditional generator.
        seed: of the noise.
    """
    most = pipeline.generator.config.num_latents
    budgets = [k for k in BUDGETS if k <= most] or [most]
    cards = [
        PromptCard(prompt=prompt, note=note, pictures=_pictures(pipeline, prompt, budgets, seed=seed))
        for prompt, note in PROMPTS.items()
    ]
    settings = pipeline.defaults
    return PromptSection(
        model_id=pipeline.model_id,
        cards=cards,
        budgets=budgets,
        seconds={k: seconds_per_picture(pipeline, num_tokens=k) for k in budgets},
        batch=PICTURES,
        settings=f"{settings.sampler}, {settings.steps} steps, guidance {settings.guidance:g}",
        parameters=sum(parameter.numel() for parameter in pipeline.generator.parameters()),
    )


def _pictures(pipeline: Pipeline, prompt: str, budgets: list[int], *, seed: int) -> torch.Tensor:
    made = [
        pipeline(
            prompt,
            num_images=PICTURES,
            num_tokens=k,
            generator=torch.Generator().manual_seed(seed),
            output="uint8",
        )
        for k in budgets
    ]
    return torch.stack(made)


def seconds_per_picture(pipeline: Pipeline, *, num_tokens: int) -> float:
    """Median time of a picture when several are made at once, prompt to pixels."""
    prompt, times = next(iter(PROMPTS)), []
    for _ in range(TIMED_ROUNDS):
        start = time.perf_counter()
        pipeline(prompt, num_images=PICTURES, num_tokens=num_tokens, output="uint8")
        times.append((time.perf_counter() - start) / PICTURES)
    return statistics.median(times)
