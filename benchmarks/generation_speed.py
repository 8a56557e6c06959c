"""Generation speed at 512 px: DiT-XL/2 on 1,024 tokens of an SD-VAE against DiT-XL on 32 tokens of TexTok-B.

    python benchmarks/generation_speed.py

Run it on an otherwise idle machine. All weights are random: time does not depend on them. One process measures
A B A B: a network evaluation with classifier-free guidance (two rows a picture), the decoder, and a whole picture of
equal step counts, at equal batches and with each system at its fastest batch for 250 steps. Work is counted by
``FlopCounterMode`` on shapes alone (multiply-adds times two).
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from textok.evaluation.results import Row, write_result
from textok.models.conditions import Condition
from textok.models.dit import DiT, DiTConfig
from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok, count_parameters
from textok.pipeline.precision import inference_dtype
from textok.pipeline.sampling import guided
from textok.recipes import GENERATOR_RECIPES, RECIPES
from textok.sampling.flow import Guidance, sample, time_grid
from textok.training.run_folder import environment
from timing import seconds

OUT = Path(__file__).resolve().parent / "results" / "generation_speed.json"
TOKENS, TEXT_TOKENS, GUIDANCE = 32, 128, 4.0
PAPER_STEPS = 250
FULL = f"image_{PAPER_STEPS}_steps_computed"


@dataclass(frozen=True)
class System:
    """A generator and its decoder; ``batch`` pictures at a time."""

    name: str
    network: nn.Module
    decoder: nn.Module
    evaluate: Callable[[int], object]
    decode: Callable[[int], object]
    picture: Callable[[int, int], object]


def original(device: str, dtype: torch.dtype) -> System:
    """DiT-XL/2 at 512 px as published: latents 64 x 64 x 4 of the SD-VAE, patch 2, 1,000 classes."""
    with torch.device(device):
        network: Any = DiTTransformer2DModel(
            num_attention_heads=16, attention_head_dim=72, in_channels=4, out_channels=8, num_layers=28,
            sample_size=64, patch_size=2, num_embeds_ada_norm=1000,
        )  # fmt: skip
        vae: Any = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
        )  # fmt: skip
    network, vae = frozen(network, dtype), frozen(vae, dtype)

    def noise(batch: int) -> torch.Tensor:
        return torch.randn(batch, 4, 64, 64, dtype=dtype, device=device)

    def velocity(x: torch.Tensor, time_: float) -> torch.Tensor:
        rows = 2 * len(x)
        steps = torch.full((rows,), int(999 * time_), device=device)
        labels = torch.zeros(rows, dtype=torch.long, device=device)
        made = network(x.repeat(2, 1, 1, 1), timestep=steps, class_labels=labels).sample[:, :4]
        conditional, unconditional = made.chunk(2)
        return Guidance(scale=GUIDANCE).combine(conditional, unconditional)

    def picture(batch: int, steps: int) -> object:
        return vae.decode(sample(velocity, noise(batch), time_grid(steps))).sample

    return System(
        "DiT-XL/2, 1,024 tokens, SD-VAE",
        network,
        vae.decoder,
        lambda batch: velocity(noise(batch), 0.5),
        lambda batch: vae.decode(noise(batch)).sample,
        picture,
    )


def ours(device: str, dtype: torch.dtype) -> System:
    """DiT-XL on 32 latents by class; TexTok-B decodes 512 px with a caption of 128 T5-XXL tokens."""
    recipe, sizes = RECIPES["imagenet-512-b-32"]().model, GENERATOR_RECIPES["imagenet-512-dit-xl-32"]().model
    assert isinstance(sizes, DiTConfig)
    with torch.device(device):
        network, tokenizer = frozen(DiT(sizes), dtype), frozen(TexTok(recipe), dtype)
    tokenizer.bottleneck.float()

    def noise(batch: int) -> torch.Tensor:
        return torch.randn(batch, TOKENS, recipe.latent_dim, device=device)

    def velocity(batch: int) -> Callable[..., torch.Tensor]:
        labels = torch.zeros(batch, dtype=torch.long, device=device)
        return guided(network, Condition(labels=labels), Guidance(scale=GUIDANCE))

    def decode(latents: torch.Tensor) -> torch.Tensor:
        states = torch.randn(len(latents), TEXT_TOKENS, recipe.text_dim, dtype=dtype, device=device)
        present = torch.ones(len(latents), TEXT_TOKENS, dtype=torch.bool, device=device)
        return tokenizer.decode(latents, TextCondition(states, present))

    def picture(batch: int, steps: int) -> object:
        return decode(sample(velocity(batch), noise(batch), time_grid(steps)))

    return System(
        "DiT-XL, 32 tokens, TexTok-B",
        network,
        tokenizer.decoder,
        lambda batch: velocity(batch)(noise(batch), 0.5),
        lambda batch: decode(noise(batch)),
        picture,
    )


def frozen(module: Any, dtype: torch.dtype) -> Any:
    """Ready to run in a number type."""
    return module.eval().requires_grad_(False).to(dtype)


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=4, help="of a whole picture, for both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4], help="of both")
    parser.add_argument("--larger", type=int, nargs="*", default=[8, 16, 32], help="of ours alone")
    options = parser.parse_args()
    dtype = inference_dtype("cpu")
    systems = [original("cpu", dtype), ours("cpu", dtype)]
    counts = {s.name: work(s) for s in (original("meta", dtype), ours("meta", dtype))}
    rows = measure(systems, counts, options=options)
    settings = vars(options) | {"dtype": str(dtype), "guidance": GUIDANCE, "text_tokens": TEXT_TOKENS}
    write_result(OUT, settings=settings, rows=rows, made_by=environment())
    for row in rows:
        print({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()})


def measure(
    systems: list[System], counts: dict[str, dict[str, float]], *, options: argparse.Namespace
) -> list[Row]:
    """A row for each system and batch, of their ratios at equal batches, and at the best batch of each."""
    cells = [(system, batch) for batch in options.batches for system in systems]
    cells += [(systems[1], batch) for batch in options.larger]
    rounds = list[dict[tuple[str, int], dict[str, float]]]()
    for number in range(options.rounds + 1):
        rounds.append({(s.name, batch): timed(s, batch=batch, steps=options.steps) for s, batch in cells})
        print(f"round {number} of {options.rounds}; the first warms up", flush=True)
    kept = rounds[1:]
    rows: list[Row] = []
    for system, batch in cells:
        found = {
            f"{name}_seconds_per_image": statistics.median(r[system.name, batch][name] for r in kept)
            for name in kept[0][system.name, batch]
        }
        rows.append({"system": system.name, "batch": batch, **found, **counts[system.name]})
    first, second = (s.name for s in systems)
    operations = {
        f"{name}_ratio": counts[first][name] / counts[second][name]
        for name in counts[first]
        if name.endswith("tflop")
    }
    for batch in options.batches:
        ratios = ratios_of(kept, (first, batch), (second, batch))
        rows.append({"system": "first / second", "batch": batch, **ratios, **operations})
    best = [best_batch(kept, name) for name in (first, second)]
    told = {"system": "first / second, each at its best batch", "batch": f"{best[0]} and {best[1]}"}
    return [*rows, told | ratios_of(kept, (first, best[0]), (second, best[1])) | operations]


def ratios_of(
    rounds: list[dict[tuple[str, int], dict[str, float]]], first: tuple[str, int], second: tuple[str, int]
) -> dict[str, float]:
    """Medians over the rounds of the ratios of seconds a picture."""
    return {
        f"{name}_ratio": statistics.median(r[first][name] / r[second][name] for r in rounds)
        for name in rounds[0][first]
    }


def best_batch(rounds: list[dict[tuple[str, int], dict[str, float]]], system: str) -> int:
    """The batch of the fewest seconds for a picture of the paper's number of steps."""
    batches = [batch for name, batch in rounds[0] if name == system]
    return min(batches, key=lambda b: statistics.median(r[system, b][FULL] for r in rounds))


def timed(system: System, *, batch: int, steps: int) -> dict[str, float]:
    """Seconds a picture: an evaluation, the decoder, a whole picture, and one of many steps from the first two."""
    with torch.inference_mode():
        found = {
            "evaluation": seconds(lambda: system.evaluate(batch)) / batch,
            "decoder": seconds(lambda: system.decode(batch)) / batch,
            "image": seconds(lambda: system.picture(batch, steps)) / batch,
        }
    return found | {FULL: PAPER_STEPS * found["evaluation"] + found["decoder"]}


def work(system: System) -> dict[str, float]:
    """Operations of one picture, from shapes alone; attention as two matrix products, which are counted."""
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):
        evaluation, decoder = (count(lambda call=call: call(1)) for call in (system.evaluate, system.decode))
    return {
        "parameters": float(count_all(system.network)),
        "decoder_parameters": float(count_all(system.decoder)),
        "evaluation_tflop": evaluation / 1e12,
        "decoder_tflop": decoder / 1e12,
    }


def count_all(module: nn.Module) -> int:
    """Parameters, frozen ones too."""
    return count_parameters(module.requires_grad_(True))


def count(call: Callable[[], object]) -> int:
    """Floating-point operations of one call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


if __name__ == "__main__":
    main()
