"""Soft budgets as a user meets them: the mean of bytes asked for and got in a file, and what batches change.

    python benchmarks/soft_budget_file.py

writes benchmarks/results/soft_budget_file.json. Rows, by "table":

- bytes: half of the pictures (even places) calibrate, the others are written to a .ttk file with the shipped
  probability model: the mean asked for, that of the sample, and the bytes of tokens a picture in the file.
- batches: pictures in batches and one at a time, by number type and by what decides: how many have another budget,
  and how much the quality of those differs at most.
"""

import argparse
import io
from pathlib import Path

from textok.budgets import RANGES_256, SoftBudget, token_range
from textok.budgets.encoder import SoftEncoder
from textok.budgets.search import Choice
from textok.codec import Prior, TtkWriter, coded_sizes, find_prior, header_for
from textok.data import DataConfig, EvalLoader
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.results import Row, write_result
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pipeline.precision import Precision
from textok.pipeline.tokens import Tokens
from textok.training.run_folder import environment

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "soft_budget_file.json"
PARTS = ("bytes", "batches")


def stored_bytes(tokenizer: ImageTokenizer, tokens: Tokens, *, prior: Prior | None) -> float:
    """Bytes of tokens per picture in a file of them."""
    header = header_for(tokenizer.model, prior=prior, captions=False)
    with TtkWriter(io.BytesIO(), header, prior=prior) as writer:
        writer.add(tokens)
    return float(writer.facts()["token_bytes_per_image"])


def byte_rows(
    tokenizer: ImageTokenizer, pictures: CaptionedPictures, *, prior: Prior | None, asked: list[float]
) -> list[Row]:
    """A mean of bytes in each named range."""
    sizes, rows = coded_sizes(tokenizer.model, prior=prior), list[Row]()
    for name, mean in zip(RANGES_256, asked, strict=True):
        low, high = token_range(name, tokenizer.model.config.num_latents)
        encoder = SoftEncoder(tokenizer, SoftBudget(low, high, bytes=mean), sizes=sizes)
        found = encoder.calibrate(pictures.images[::2], pictures.captions[::2])
        tokens, _ = encoder.encode(pictures.images[1::2], pictures.captions[1::2])
        got = stored_bytes(tokenizer, tokens, prior=prior)
        rows.append(
            {"table": "bytes", "range": name, "low": low, "high": high, "asked": mean}
            | {"sample": found.mean, "standard_error": found.standard_error, "got": got, "error": got - mean}
            | {"mean_tokens": tokens.mean_tokens}
        )
    return rows


def batch_rows(model: str, pictures: CaptionedPictures, options: argparse.Namespace) -> list[Row]:
    """Batches against one at a time, in the middle range."""
    rows, precisions = list[Row](), list[Precision](["float32", "bfloat16"])
    for precision in precisions:
        tokenizer = ImageTokenizer.from_pretrained(model, dtype=precision)
        low, high = token_range("middle", tokenizer.model.config.num_latents)
        for by, target in (("quality", options.quality), ("loss", options.loss)):
            budget = SoftBudget(low, high, **{"quality" if by == "quality" else "max_drop": target})
            together, alone = (chosen(tokenizer, pictures, budget, batch) for batch in (options.batch, 1))
            others = together.budgets != alone.budgets
            differences = (together.quality - alone.quality)[others].abs().tolist()
            rows.append(
                {"table": "batches", "precision": precision, "by": by, "threshold": target}
                | {"low": low, "high": high, "other_budget": len(differences)}
                | {"largest_difference": max(differences, default=0.0)}
            )
    return rows


def chosen(tokenizer: ImageTokenizer, pictures: CaptionedPictures, budget: SoftBudget, batch: int) -> Choice:
    """Budgets by bisection, so many pictures at a time."""
    encoder = SoftEncoder(tokenizer, budget, batch_size=batch)
    return encoder.encode(pictures.images, pictures.captions)[1]


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="icons-128", help="shipped name or folder")
    parser.add_argument("--data", default=str(ROOT / "datasets" / "icons-128"))
    parser.add_argument("--split", default="test-drawing")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument(
        "--bytes", nargs=3, type=float, default=[48.0, 56.0, 59.0], help="in short, middle, long"
    )
    parser.add_argument("--limit", type=int, help="pictures of bytes; all when left out")
    parser.add_argument("--batched", type=int, default=64, help="pictures of batches, spread evenly")
    parser.add_argument("--quality", type=float, default=20.0, help="of batches")
    parser.add_argument("--loss", type=float, default=0.1, help="of batches")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    tokenizer = ImageTokenizer.from_pretrained(options.model)
    prior = find_prior(options.model, model_id=tokenizer.model_id)
    side = tokenizer.model.config.image_size
    config = DataConfig(source=options.data, split=options.split, size=(side, side))
    pictures = CaptionedPictures.collect(
        options.split, EvalLoader(config, batch_size=64), limit=options.limit
    )
    rows = (
        byte_rows(tokenizer, pictures, prior=prior, asked=options.bytes) if "bytes" in options.parts else []
    )
    rows = [{"pictures": len(pictures), **row} for row in rows]
    if "batches" in options.parts:
        some = pictures.spread(options.batched)
        rows += [{"pictures": len(some), **row} for row in batch_rows(options.model, some, options)]
    settings = {k: v for k, v in vars(options).items() if k not in ("out", "model", "data")}
    settings |= {
        "model_id": tokenizer.model_id,
        "dtype": str(tokenizer.dtype),
        "data": Path(options.data).name,
    }
    write_result(options.out, settings=settings, rows=rows, made_by=environment())
    for row in rows:
        print({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
