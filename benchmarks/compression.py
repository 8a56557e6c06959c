"""Bytes a picture of .ttk files, and what rounding the latents costs, with the shipped probability model and without.

    python benchmarks/compression.py

All pictures of icons-128 test-drawing at one budget each time, encoded with their captions; bytes are of the whole
file without captions, divided by the pictures. The loss is that of mean PSNR against tokens that were not rounded.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from textok.codec import Prior, TtkReader, TtkWriter, find_prior, header_for
from textok.data import DataConfig, EvalLoader
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.results import Row, write_result
from textok.objectives.quality import psnr_per_image
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pipeline.tokens import Tokens
from textok.training.run_folder import environment

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "compression.json"
BUDGETS = (8, 14, 16, 24, 32)
MODEL, SPLIT = "icons-128", "test-drawing"


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, default=None, help="pictures, spread over the split")
    options = parser.parse_args()
    tokenizer = ImageTokenizer.from_pretrained(MODEL)
    side = tokenizer.model.config.image_size
    data = DataConfig(source=str(ROOT / "datasets" / MODEL), split=SPLIT, size=(side, side))
    found = CaptionedPictures.collect(SPLIT, EvalLoader(data, batch_size=64))
    pictures = found if options.limit is None else found.spread(options.limit)
    tokens = tokenizer.encode(pictures.images, pictures.captions)
    prior = find_prior(MODEL, model_id=tokenizer.model_id)
    rows = [row for k in BUDGETS for row in measured(tokenizer, tokens.first(k), pictures, prior)]
    settings = {
        "model": tokenizer.model_id,
        "split": SPLIT,
        "count": len(pictures),
        "step": 1.0,
        "captions": "right",
    }
    write_result(OUT, settings=settings, rows=rows, made_by=environment())
    for row in rows:
        print({name: round(v, 3) if isinstance(v, float) else v for name, v in row.items()})


def measured(
    tokenizer: ImageTokenizer, tokens: Tokens, pictures: CaptionedPictures, prior: Prior | None
) -> list[Row]:
    """A row with the shipped probability model and one with the plain one."""
    exact = mean_psnr(tokenizer, tokens, pictures)
    rows: list[Row] = []
    for name, model in (("shipped", prior), ("plain", None)):
        size, rounded = through_a_file(tokenizer, tokens, model)
        kept = mean_psnr(tokenizer, rounded, pictures)
        row: Row = {"budget": tokens.num_tokens, "prior": name, "bytes_per_image": size}
        rows.append(row | {"psnr_exact": exact, "psnr": kept, "psnr_loss": exact - kept})
    return rows


def through_a_file(tokenizer: ImageTokenizer, tokens: Tokens, prior: Prior | None) -> tuple[float, Tokens]:
    """Bytes a picture, and the tokens as they come back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.ttk"
        header = header_for(tokenizer.model, prior=prior, captions=False)
        with path.open("wb") as stream, TtkWriter(stream, header, prior=prior) as writer:
            writer.add(tokens)
        with TtkReader(path, prior=prior) as reader:
            rounded = Tokens.concat(list(reader))
        return path.stat().st_size / len(tokens), replace(rounded, captions=tokens.captions)


def mean_psnr(tokenizer: ImageTokenizer, tokens: Tokens, pictures: CaptionedPictures) -> float:
    """In dB, over the pictures."""
    made = tokenizer.decode(tokens, output="uint8")
    return float(psnr_per_image(pictures.images, made).mean())


if __name__ == "__main__":
    main()
