"""What each recipe takes, counted without running it: parameters, operations a picture, memory of the state, GPU hours.

    python -m benchmarks.recipe_costs

Operations are counted by torch on shapes without memory. Nothing is measured: hours and money follow from a share of
one GPU's peak that trainings reach, and from a price, both of which the record states.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from research.tables import fill, markdown
from textok.models.conditions import Condition, ConditionConfig
from textok.models.generators import build_generator
from textok.models.maskgit import MaskGITConfig
from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok
from textok.objectives.reconstruction import LossConfig
from textok.recipes import RECIPES
from textok.recipes.generators import GENERATOR_RECIPES
from textok.training.generator.config import GeneratorRun
from textok.training.run_folder import environment
from textok.training.tokenizer.config import TokenizerRun
from textok.writing import write_json

OUT = Path(__file__).resolve().parent / "results" / "recipe_costs.json"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "training.md"
BATCH, TEXT_TOKENS = 2, 75
PEAK, SHARE, PRICE = 989e12, 0.4, 2.5
"""One H100's dense bfloat16 operations a second (data sheet), the share of it that we assume, and dollars an hour."""

STATE_BYTES = {"muon": 16, "adam": 20, "adamw": 20}
"""Weights, gradients, average and moments, 4 bytes each."""


def main() -> None:
    """Count all recipes, write the record and the table."""
    rows = [{"recipe": name} | tokenizer_row(make()) for name, make in RECIPES.items()]
    rows += [{"recipe": name} | generator_row(make()) for name, make in GENERATOR_RECIPES.items()]
    settings = {"peak": PEAK, "share_of_peak": SHARE, "dollars_an_hour": PRICE, "text_tokens": TEXT_TOKENS}
    write_json(OUT, {"settings": settings, "made_by": environment(), "rows": rows})
    fill(PAGE, {"recipe costs": table(rows)})


def table(rows: Sequence[dict[str, Any]]) -> str:
    """For the page, of models that fill a GPU: small ones reach a twentieth of its peak, so their hours say nothing."""
    heads = ["recipe", "parameters", "GFLOP a picture", "pictures", "state, GB", "H100 hours", "dollars"]
    return markdown(heads, [_cells(row) for row in rows if row["parameters"] > 50e6])


def _cells(row: dict[str, Any]) -> list[str]:
    millions = f"{row['parameters'] / 1e6:.1f} M"
    names = ("state_gb", "h100_hours", "dollars")
    numbers = [f"{float(f'{row[name]:.2g}'):,.10g}" for name in names]
    return [
        f"`{row['recipe']}`",
        millions,
        f"{row['gflop_a_picture']:,.1f}",
        f"{row['pictures']:,}",
        *numbers,
    ]


def tokenizer_row(run: TokenizerRun) -> dict[str, Any]:
    """Of a tokenizer: its own operations and those of the perceptual network; the discriminator's are left out."""
    side = run.model.image_size
    with torch.device("cpu" if run.model.bottleneck.kind == "vq" else "meta"):  # which has kernels of its own
        model = TexTok(run.model).eval()
        images = torch.rand(BATCH, 3, side, side)
        text = _text(run.model.text_dim, run.model.max_text_tokens) if run.model.placement != "none" else None
        operations = _operations(lambda: model(images, text).estimate.images)
    if run.loss.perceptual or run.loss.flow:
        operations += run.loss.perceptual_share * _perceptual(run.loss, side)
    return _row(run, model, operations)


def generator_row(run: GeneratorRun) -> dict[str, Any]:
    """Of a generator on latents that are cached."""
    config = run.model
    with torch.device("cpu" if isinstance(config, MaskGITConfig) else "meta"):  # which looks at its codes
        model = build_generator(config).eval()
        condition = _condition(config.condition)
        if isinstance(config, MaskGITConfig):
            codes = torch.zeros(BATCH, config.num_latents, dtype=torch.long)
            operations = _operations(lambda: model(codes, condition))
        else:
            latents, times = torch.rand(BATCH, config.num_latents, config.latent_dim), torch.rand(BATCH)
            operations = _operations(lambda: model(latents, times, condition))
    return _row(run, model, operations)


def _text(width: int, most: int) -> TextCondition:
    tokens = min(TEXT_TOKENS, most)
    return TextCondition(torch.rand(BATCH, tokens, width), torch.ones(BATCH, tokens, dtype=torch.bool))


def _condition(config: ConditionConfig) -> Condition:
    if config.kind == "class":
        return Condition(labels=torch.zeros(BATCH, dtype=torch.long))
    return Condition(text=_text(config.text_dim, config.max_text_tokens))


def _operations(forward: Any) -> float:
    """Of a forward and a backward pass, for a picture."""
    with FlopCounterMode(display=False) as counter:
        output = forward()
        (output if isinstance(output, torch.Tensor) else output[0]).float().square().mean().backward()
    return counter.get_total_flops() / BATCH


def _perceptual(loss: LossConfig, side: int) -> float:
    """Of the frozen network: the picture, its reconstruction, and the gradient to the latter."""
    network = loss.build_perceptual_network(dtype=torch.float32)
    images = torch.rand(BATCH, 3, side, side, requires_grad=True)
    return _operations(lambda: network(images, images.detach()))


def _row(run: TokenizerRun | GeneratorRun, model: nn.Module, operations: float) -> dict[str, Any]:
    parameters, pictures = sum(p.numel() for p in model.parameters()), run.steps * run.batch_size
    hours = operations * pictures / (PEAK * SHARE) / 3600
    return {
        "kind": run.kind,
        "parameters": parameters,
        "gflop_a_picture": operations / 1e9,
        "pictures": pictures,
        "state_gb": parameters * STATE_BYTES[run.optimizer.kind] / 1e9,
        "h100_hours": hours,
        "dollars": hours * PRICE,
    }


if __name__ == "__main__":
    main()
