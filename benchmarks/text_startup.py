"""How captions should enter: short trainings that differ in one thing, at equal samples and equal time.

    python benchmarks/text_startup.py --runs runs-out/text-startup

Arms (64 px, patch 8, 4 + 4 blocks, l2 only): no text; captions in the sequence, in plain attention; under a
learned attention bias that starts at -3; as a memory that blocks read and leave unchanged; AdamW in place of
Muon. Arms with one seed share their order of samples and, but for the
caption's own layers, their first weights. Every arm is a normal run folder under RUNS, so the command goes on
where it was stopped. Seconds per step are taken in turn over the arms, before training, on an idle machine.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok, TexTokConfig
from textok.objectives.reconstruction import LossConfig
from textok.recipes.tokenizers import icons_128
from textok.training.optimizers import build_optimizers
from textok.training.run_folder import environment
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.train import train_tokenizer

OUT = Path(__file__).resolve().parent / "results" / "text_startup.json"


def arms(*, steps: int, seed: int) -> dict[str, TokenizerRun]:
    """The runs by name."""
    base = icons_128()
    shape = {
        "image_size": 64,
        "patch_size": 8,
        "dim": 192,
        "encoder_depth": 4,
        "decoder_depth": 4,
        "num_heads": 3,
    }
    base = replace(
        base,
        model=TexTokConfig(**shape),
        data=replace(base.data, size=(64, 64)),
        loss=LossConfig(l2=1.0, perceptual=0.0),
        steps=steps,
        batch_size=32,
        micro_batch=32,
        seed=seed,
        checkpoint_every=200,
        validation=replace(base.validation, every=max(1, steps // 5), budgets=(2, 8, 32), pictures=4),
    )
    none = replace(base, name="none", model=replace(base.model, placement="none"))
    plain = replace(base, name="text", model=replace(base.model, text_bias=None))
    biased = replace(base, name="text-bias")
    adamw = replace(base, name="text-bias-adamw", optimizer=replace(base.optimizer, kind="adamw"))
    return {run.name: run for run in (none, plain, biased, adamw)}


def main() -> None:
    """Time the arms, train them one after another, and collect their validation scores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs-out/text-startup"))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", default=list(arms(steps=1, seed=0)))
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    chosen = {name: run for name, run in arms(steps=options.steps, seed=0).items() if name in options.arms}
    times = step_seconds(chosen)
    rows = []
    for seed in options.seeds:
        for name in chosen:
            run = arms(steps=options.steps, seed=seed)[name]
            folder = options.runs / f"{name}-seed{seed}"
            if not is_finished(folder, run):
                train_tokenizer(run, folder)
            rows += [{"arm": name, "seed": seed, **row} for row in scores(folder, run)]
    settings = {"steps": options.steps, "batch_size": 32, "seeds": options.seeds}
    table = summary(rows, times)
    result = {
        "settings": settings,
        "made_by": environment(),
        "step_seconds": times,
        "summary": table,
        "rows": rows,
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    for line in table:
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in line.items()})


def summary(rows: list[dict[str, Any]], times: dict[str, float]) -> list[dict[str, Any]]:
    """PSNR of every arm under its own condition: after the last step, and after the quickest arm's seconds."""
    last = max(row["step"] for row in rows)
    quickest = min(times.values()) * last
    table = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        for k in sorted({row["budget"] for row in rows}):
            curves: dict[int, dict[int, float]] = {}
            own = "none" if arm == "none" else "right"
            for row in rows:
                if (row["arm"], row["captions"], row["budget"]) == (arm, own, k):
                    curves.setdefault(row["seed"], {})[row["step"]] = row["psnr"]
            equal_samples = [curve[last] for curve in curves.values()]
            equal_time = [at_step(curve, quickest / times[arm]) for curve in curves.values()]
            table.append({"arm": arm, "captions": own, "budget": k, "seeds": len(curves),
                          "psnr_equal_samples": statistics.mean(equal_samples),
                          "psnr_equal_time": statistics.mean(equal_time),
                          "by_seed": {seed: curve[last] for seed, curve in curves.items()}})  # fmt: skip
    return table


def at_step(curve: dict[int, float], step: float) -> float:
    """A value between two evaluations, by a straight line."""
    steps = sorted(curve)
    before = max((s for s in steps if s <= step), default=steps[0])
    after = min((s for s in steps if s >= step), default=steps[-1])
    share = 0.0 if after == before else (step - before) / (after - before)
    return curve[before] + share * (curve[after] - curve[before])


def step_seconds(runs: dict[str, TokenizerRun], *, rounds: int = 7) -> dict[str, float]:
    """Median seconds of a forward, backward and optimizer step of each arm, taken in turn."""
    works = {name: train_step(run) for name, run in runs.items()}
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn:
                found[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in found.items()}


def train_step(run: TokenizerRun) -> Callable[[], None]:
    """A step on random pictures and captions of the usual length."""
    generator = torch.Generator().manual_seed(0)
    model = TexTok(run.model)
    optimizers = build_optimizers(model, run.optimizer)
    images = torch.rand(run.batch_size, 3, 64, 64, generator=generator) * 2 - 1
    mask = torch.arange(32)[None] < torch.randint(16, 33, (run.batch_size, 1), generator=generator)
    text = TextCondition(torch.randn(run.batch_size, 32, 384, generator=generator), mask)

    def step() -> None:
        lengths = run.budgets.lengths(run.batch_size, most=32, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            made = model(images, text, lengths=lengths, generator=generator)
        (made.images - images).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)

    return step


def is_finished(folder: Path, run: TokenizerRun) -> bool:
    """Whether the run was evaluated after its last step."""
    log = folder / "metrics.jsonl"
    return log.is_file() and any(row["step"] == run.steps for row in scores(folder, run))


def scores(folder: Path, run: TokenizerRun) -> list[dict[str, Any]]:
    """PSNR by step, caption condition and budget, from the run's log."""
    rows: list[dict[str, Any]] = []
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        for name, value in values.items():
            if name.startswith("val/") and name.endswith("/psnr"):
                _, captions, budget, _ = name.split("/")
                step = values["step"]
                rows.append({"step": step, "samples": step * run.batch_size, "captions": captions,
                             "budget": int(budget), "psnr": value})  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
