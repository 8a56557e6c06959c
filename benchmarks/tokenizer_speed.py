"""Speed of the icons-128 tokenizer: encode, decode, train step, as shares of the matrix-product rate.

    python benchmarks/tokenizer_speed.py

Run it on an otherwise idle machine. Work is counted by ``FlopCounterMode`` (multiply-adds times two); the
rate it is compared with is that of one large bfloat16 matrix product, measured in the same sitting between
the rounds.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok
from textok.objectives.perceptual import EfficientNetPerceptualLoss
from textok.pipeline.precision import inference_dtype
from textok.recipes.tokenizers import icons_128
from textok.training.optimizers import build_optimizers
from textok.training.run_folder import environment
from timing import seconds

OUT = Path(__file__).resolve().parent / "results" / "tokenizer_speed.json"
TEXT_TOKENS = 24  # mean length of the training captions (benchmarks/results/caption_cache.json)


def main() -> None:
    """Measure every kind of work in turn, several rounds, and write the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    work = build_work(options.batch)
    flops = {name: count(call) for name, call in work.items()}
    rounds = [{name: seconds(call) for name, call in work.items()} for _ in range(options.rounds + 1)][1:]
    peak = flops["matrix product"] / statistics.median(r["matrix product"] for r in rounds)
    rows = []
    for name in work:
        took = statistics.median(r[name] for r in rounds)
        share = statistics.median(
            flops[name] / r[name] * r["matrix product"] / flops["matrix product"] for r in rounds
        )
        rows.append(
            {
                "work": name,
                "seconds": took,
                "images_per_second": options.batch / took,
                "gflop": flops[name] / 1e9,
                "share_of_matrix_product_rate": share,
            }
        )
    settings = {"batch": options.batch, "rounds": options.rounds, "text_tokens": TEXT_TOKENS, "seed": 0}
    result = {
        "settings": settings,
        "made_by": environment(),
        "matrix_product_tflops": peak / 1e12,
        "rows": rows,
    }
    OUT.write_text(json.dumps(result, indent=2) + "\n")
    for row in rows:
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()})


def build_work(batch: int, dtype: torch.dtype | None = None) -> dict[str, Callable[[], object]]:
    """What is timed, by name; in the dtype that a run would choose, or another one."""
    generator = torch.Generator().manual_seed(0)
    run, dtype = icons_128(), dtype or inference_dtype("cpu")
    images = torch.rand(batch, 3, 128, 128, generator=generator) * 2 - 1
    text = TextCondition(
        torch.randn(batch, TEXT_TOKENS, 384, generator=generator), torch.ones(batch, TEXT_TOKENS).bool()
    )
    model, trained = TexTok(run.model).eval().requires_grad_(False), TexTok(run.model)
    model.encoder.to(dtype), model.decoder.to(dtype)
    latents = torch.randn(batch, 32, 8, generator=generator)
    perceptual = EfficientNetPerceptualLoss(dtype=dtype)
    optimizers = build_optimizers(trained, run.optimizer, dtype=dtype)

    def step(*, with_text: bool, with_perceptual: bool) -> None:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            made = trained(images, text if with_text else None, generator=generator).images
        loss = (made - images).square().mean()
        loss = loss + (0.04 * perceptual(made, images) if with_perceptual else 0.0)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        trained.zero_grad(set_to_none=True)

    square = torch.randn(4096, 4096, generator=generator).to(dtype)
    low = images.to(dtype), text.to("cpu", dtype)
    return {
        "matrix product": lambda: square @ square,
        "encode": lambda: model.encode(*low),
        "decode, 32 tokens": lambda: model.decode(latents, low[1]),
        "decode, 8 tokens": lambda: model.decode(latents[:, :8], low[1]),
        "train step": lambda: step(with_text=True, with_perceptual=True),
        "train step, no perceptual loss": lambda: step(with_text=True, with_perceptual=False),
        "train step, no caption, no perceptual loss": lambda: step(with_text=False, with_perceptual=False),
    }


def count(call: Callable[[], object]) -> int:
    """Floating-point operations of one call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


if __name__ == "__main__":
    main()
