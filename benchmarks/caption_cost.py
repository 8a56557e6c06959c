"""What reading a dense caption costs, with and without pooling: seconds of a training step, encoding and decoding.

    python benchmarks/caption_cost.py

Four arms of scenes-128 with random weights, on the same scenes: without captions, and with captions of up to 96 tokens
as keys alone, in the sequence, and pooled to 16 there. Run it on an otherwise idle machine; one thread, the arms in
turn. The figure is the least seconds of an arm, since other work only ever makes one slower. What the frozen text
encoder takes is a row of its own.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from timeit import timeit
from typing import Any

import torch

from textok.data import Batch
from textok.data.held_out import open_train
from textok.evaluation.results import write_result
from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok
from textok.objectives.reconstruction import ReconstructionObjective
from textok.pipeline.text import CachedText
from textok.recipes.tokenizers import scenes_128
from textok.training.optimizers import build_optimizers
from textok.training.run import BudgetDraw
from textok.training.run_folder import environment
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.setup import open_loader
from textok.training.tokenizer.step import MicroBatch, micro_batches, total

OUT = Path(__file__).resolve().parent / "results" / "caption_cost.json"
RECIPE = replace(scenes_128(), words_first=0.0, budgets=BudgetDraw(kind="powers"))  # none is without latents
ARMS = {
    "no caption": replace(RECIPE.model, placement="none"),
    "up to 96 tokens as keys": RECIPE.model,
    "up to 96 tokens": replace(RECIPE.model, text_path="sequence"),
    "pooled to 16": replace(RECIPE.model, text_path="sequence", text_pool=16),
}
TOKENS, STEPS = 8, 8
Work = dict[tuple[str, str], Callable[[], object]]


def main() -> None:
    """Time every arm in turn, several rounds, and write the least seconds of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--batch", type=int, default=RECIPE.batch_size)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    work = build_work(options.batch)
    times = [{key: timeit(call, number=1) for key, call in work.items()} for _ in range(options.rounds + 1)]
    rounds = times[1:]
    rows = [{"arm": arm, "work": name, "seconds": min(r[arm, name] for r in rounds)} for arm, name in work]
    settings = {"batch": options.batch, "rounds": options.rounds, "threads": 1, "seed": 0}
    write_result(options.out, settings=settings, rows=rows, made_by=environment())
    for row in rows:
        print(f"{row['arm']:16} {row['work']:32} {row['seconds']:.3f} s")


def build_work(batch_size: int) -> Work:
    """What is timed, by arm and name."""
    run = replace(RECIPE, batch_size=batch_size, micro_batch=batch_size)
    batch = next(open_loader(run, open_train(run.data), rank=0, world=1))
    text = CachedText(run.model, folder=None)
    text.encode_online()
    work: Work = {("frozen text encoder", "a batch of captions"): lambda: text(batch.captions)}
    for arm, config in ARMS.items():
        work |= work_of(arm, replace(run, model=config), batch, None if arm == "no caption" else text)
    return work


def work_of(arm: str, run: TokenizerRun, batch: Batch, text: CachedText | None) -> Work:
    """A training step of a batch, and one picture encoded and decoded in both ways."""
    (part,) = micro_batches(batch, run, text, step=0, rank=0, device=torch.device("cpu"))
    model = TexTok(run.model).eval().requires_grad_(False)
    image = part.images[:1]
    condition = longest(part.text)
    latents = model.encode(image, condition, num_tokens=TOKENS).latents

    def decode(steps: int) -> torch.Tensor:
        return model.decode(latents, condition, steps=steps)

    named: dict[str, Callable[[], object]] = {
        "training step of a batch": training_step(run, part),
        "one picture encoded": lambda: model.encode(image, condition, num_tokens=TOKENS),
        "one picture decoded, one pass": lambda: decode(0),
        f"one picture decoded, {STEPS} steps": lambda: decode(STEPS),
    }
    return {(arm, name): call for name, call in named.items()}


def longest(text: TextCondition | None) -> TextCondition | None:
    """The longest caption of a batch alone: what a dense caption costs."""
    return None if text is None else text[text.mask.sum(dim=1).argmax()[None]]


def training_step(run: TokenizerRun, part: MicroBatch) -> Callable[[], None]:
    """Forward, losses, backward and optimizers; the states of the captions are there already."""
    model = TexTok(run.model)
    optimizers, objective = build_optimizers(model, run.optimizer), ReconstructionObjective(run.loss)
    inputs: dict[str, Any] = {"decoder_text": part.decoder_text, "lengths": part.lengths}

    def step() -> None:
        noise = torch.Generator().manual_seed(0)
        result = model(part.images, part.text, generator=noise, **inputs)
        total(objective(result, part.images)).backward()
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)

    return step


if __name__ == "__main__":
    main()
