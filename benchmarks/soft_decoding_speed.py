"""Decoding pictures of different budgets: together, one at a time, and with all tokens each.

    python benchmarks/soft_decoding_speed.py

writes benchmarks/results/soft_decoding_speed.json. Run it on an otherwise idle machine. The ways take turns (A B C,
A B C, ...) after one round that is not counted; budgets are drawn evenly from a range. Rows, by "way":

- together: those of like budgets in one batch, the tail of the shorter masked, as ``ImageTokenizer.decode`` does.
- in the order given: batches as the pictures come, each as long as its longest.
- one at a time: as many calls as pictures.
- all tokens: every picture at the model's K, in batches; what pictures without budgets of their own take.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from textok.data import DataConfig, EvalLoader
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.results import Row, write_result
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pipeline.tokens import Tokens
from textok.training.run_folder import environment
from timing import seconds

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "soft_decoding_speed.json"


def drawn_tokens(
    tokenizer: ImageTokenizer, pictures: CaptionedPictures, *, low: int, high: int, seed: int
) -> Tokens:
    """Tokens of the pictures, of budgets drawn from low to high."""
    tokens = tokenizer.encode(pictures.images, pictures.captions)
    generator = torch.Generator().manual_seed(seed)
    return tokens.cut(torch.randint(low, high + 1, (len(pictures),), generator=generator).tolist())


def decode_runs(tokenizer: ImageTokenizer, tokens: Tokens, *, batch: int) -> None:
    """Decode runs of pictures as they come."""
    for start in range(0, len(tokens), batch):
        tokenizer.decode(tokens[start : start + batch], output="uint8", batch_size=batch)


def ways(
    tokenizer: ImageTokenizer, pictures: CaptionedPictures, tokens: Tokens, *, batch: int
) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    full = tokenizer.encode(pictures.images, pictures.captions)
    return {
        "together": partial(tokenizer.decode, tokens, output="uint8", batch_size=batch),
        "in the order given": partial(decode_runs, tokenizer, tokens, batch=batch),
        "one at a time": partial(decode_runs, tokenizer, tokens, batch=1),
        "all tokens": partial(tokenizer.decode, full, output="uint8", batch_size=batch),
    }


def timed_rows(work: dict[str, Callable[[], object]], *, rounds: int, count: int) -> list[Row]:
    """Medians over rounds, and the median ratio to the first way within a round."""
    found = [{name: seconds(call) for name, call in work.items()} for _ in range(rounds + 1)][1:]
    first = next(iter(work))
    return [
        {
            "way": name,
            "seconds_per_image": statistics.median(one[name] for one in found) / count,
            f"times_{first}": statistics.median(one[name] / one[first] for one in found),
        }
        for name in work
    ]


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="icons-128", help="shipped name or folder")
    parser.add_argument("--data", default=str(ROOT / "datasets" / "icons-128"))
    parser.add_argument("--split", default="test-drawing")
    parser.add_argument("--range", nargs=2, type=int, default=[1, 32], metavar=("LOW", "HIGH"))
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the budgets")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    tokenizer = ImageTokenizer.from_pretrained(options.model)
    side = tokenizer.model.config.image_size
    config = DataConfig(source=options.data, split=options.split, size=(side, side))
    every = CaptionedPictures.collect(options.split, EvalLoader(config, batch_size=64))
    pictures = every.spread(options.pictures)
    low, high = options.range
    tokens = drawn_tokens(tokenizer, pictures, low=low, high=high, seed=options.seed)
    work = ways(tokenizer, pictures, tokens, batch=options.batch)
    rows = timed_rows(work, rounds=options.rounds, count=len(pictures))
    settings = {k: v for k, v in vars(options).items() if k not in ("out", "model", "data")}
    settings |= {"model_id": tokenizer.model_id, "dtype": str(tokenizer.dtype)}
    settings |= {"mean_tokens": tokens.mean_tokens}
    write_result(options.out, settings=settings, rows=rows, made_by=environment())
    for row in rows:
        print({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
