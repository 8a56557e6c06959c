"""Seconds a picture of the shipped generator takes, by tokens and batch; and of the whole command from a cold start.

    python benchmarks/pipeline_speed.py

Run it on an otherwise idle machine. Steps and guidance are the model's own. Cells are measured in turns, medians
of the rounds; the command is `textok generate` in a process of its own, reading of all weights included.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from textok.evaluation.results import Row, write_result
from textok.pipeline.generation import Pipeline
from textok.training.run_folder import environment
from timing import seconds

OUT = Path(__file__).resolve().parent / "results" / "pipeline_speed.json"
PROMPT = "a glossy 3D emoji of a red apple"


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="icons-128", help="shipped name, folder or hub id of a generator")
    parser.add_argument("--tokens", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    pipeline = Pipeline.from_pretrained(options.model)
    cells = [(tokens, batch) for tokens in options.tokens for batch in options.batches]
    rounds = [[seconds(drawn(pipeline, *cell)) for cell in cells] for _ in range(options.rounds + 1)][1:]
    rows: list[Row] = [
        {"tokens": tokens, "batch": batch, "seconds_per_image": statistics.median(times) / batch}
        for (tokens, batch), times in zip(cells, zip(*rounds, strict=True), strict=True)
    ]
    whole = statistics.median(seconds(lambda: command(options.model)) for _ in range(options.rounds))
    rows.append({"tokens": 32, "batch": 4, "command_seconds": whole})
    settings = {
        "model": pipeline.model_id,
        "sampling": pipeline.defaults.record(pipeline.generator),
        "precision": str(pipeline.dtype),
        "threads": torch.get_num_threads(),
        "rounds": options.rounds,
    }
    write_result(options.out, settings=settings, rows=rows, made_by=environment())
    for row in rows:
        print({k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in row.items()})


def drawn(pipeline: Pipeline, tokens: int, batch: int) -> Callable[[], object]:
    """Drawing so many pictures."""

    def call() -> object:
        generator = torch.Generator().manual_seed(0)
        return pipeline(PROMPT, num_images=batch, num_tokens=tokens, generator=generator, output="uint8")

    return call


def command(model: str) -> None:
    """``textok generate`` of four pictures, from a cold start."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["generate", PROMPT, "--model", model, "--num-images", "4", "--seed", "1", "--out", folder]
        subprocess.run([sys.executable, "-m", "textok.cli", *words], check=True, capture_output=True)


if __name__ == "__main__":
    main()
