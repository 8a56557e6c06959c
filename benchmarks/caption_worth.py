"""What captions are worth by who wrote them, their own bytes counted, beside JPEG, WebP and AVIF at the same bytes.

    python benchmarks/caption_worth.py --model icons-128 --limit 64

Drawings, composed scenes and photographs that the tokenizer never saw, encoded and decoded with the captions of each
writer. Bytes are those of a .ttk file of all pictures: names, index and captions (deflated together) included.
"feature distance" is ``perceptual_effnet_lite2``, the distance in EfficientNet-lite2's features.
"""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from rates.coding import RateJudge, Setting, classic, tokens_at
from textok.captioning import CaptionConfig
from textok.captioning.writers import Request, open_writer
from textok.codec import find_prior
from textok.data import DataConfig, EvalLoader, Source
from textok.data.samples import spread
from textok.data.text import thing
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.networks import EffNetLite2
from textok.evaluation.pages import curves
from textok.evaluation.results import Row, write_result
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.training.run_folder import environment
from textok.writing import write_text

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "caption_worth.json"
SETS = {
    "drawings": DataConfig(source=str(ROOT / "datasets/icons-128"), split="test-drawing"),
    "scenes": DataConfig(source="scenes", split="test-drawing"),
    "photographs": DataConfig(source=str(ROOT / "datasets/photos-256"), caption_field="description"),
}
"""Their captions are what people wrote; those of scenes say exactly what was composed."""
BUDGETS, SHOWN = (2, 8, 32), "8 tokens"
LADDER = {
    "JPEG": ((32, 20), (64, 30), (128, 25)),
    "WebP": ((32, 40), (64, 20), (128, 15)),
    "AVIF": ((32, 30), (64, 20), (128, 15)),
}
"""Codec -> side and quality."""
PLOTTED = {"people": "right"} | {name: name for name in ("describe", "labels", "none", *LADDER)}
"""Writer -> the name of its line: as many as there are colours."""
METRICS = {"psnr": "PSNR in dB", "perceptual_effnet_lite2": "feature distance"}


def described(source: Source) -> tuple[str, ...]:
    """What ``textok caption`` writes by default."""
    writer = open_writer(CaptionConfig(device="cpu"))
    samples = [source.read(place) for place in range(len(source))]
    asked = [
        Request(key=s.key, picture=writer.prepare(s), prompt="", captions=(), seed=0, temperature=0)
        for s in samples
    ]
    return tuple(answer.text for answer in asyncio.run(writer.write(asked)))


def by_writers(
    pictures: CaptionedPictures, source: Source, labels: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Captions of every picture by each writer."""
    people = pictures.captions
    half = len(people) // 2
    return {
        "people": people,
        "describe": described(source),
        "labels": tuple(labels),
        "file names": pictures.keys,
        "none": ("",) * len(people),
        "wrong": (*people[half:], *people[:half]),
    }


def scored(name: str, config: DataConfig, tokenizer: ImageTokenizer, limit: int) -> list[Row]:
    """Rows of one set: each writer at each budget, and the other codecs."""
    source, side = spread(config.open(), limit), tokenizer.model.config.image_size
    sized = replace(config, size=(side, side))
    pictures = CaptionedPictures.collect(name, EvalLoader(sized, batch_size=32, source=source))
    named = spread(replace(config, caption_field=DataConfig.caption_field).open(), limit)
    labels = [thing(named.read(place).captions[0]) for place in range(len(named))]
    judge, rows = RateJudge(pictures, EffNetLite2()), list[Row]()
    prior = find_prior(tokenizer.model_id.rpartition("-")[0], model_id=tokenizer.model_id)
    for writer, captions in by_writers(pictures, source, labels).items():
        for coded in tokens_at(tokenizer, replace(pictures, captions=captions), BUDGETS, prior=prior):
            row = judge.row(coded)
            caption = coded.sizes["bytes_with_captions"] - coded.sizes["bytes"]
            words = sum(len(text.split()) for text in captions) / len(captions)
            rows.append(row | {"writer": writer, "bytes_caption": caption, "words": words})
            print(name, writer, coded.setting, f"{row['psnr']:.2f} dB", f"{caption:.1f} bytes", flush=True)
    for codec, settings in LADDER.items():
        for size, quality in settings:
            coded = classic(pictures.images, Setting(codec=codec, quality=quality, side=size))
            rows.append(judge.row(coded) | {"writer": codec, "bytes_with_captions": coded.sizes["bytes"]})
    return rows


def plot(rows: Sequence[Row], name: str, metric: str) -> str:
    """An SVG of quality against all bytes, which needs no page around it."""
    lines: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["split"] == name and row["writer"] in PLOTTED:
            line = lines.setdefault(PLOTTED[str(row["writer"])], {})
            line[round(float(row["bytes_with_captions"]))] = float(row[metric])
    chart = curves.curve_chart(
        lines, title=f"{name}: {METRICS[metric]}", unit=METRICS[metric], across="bytes"
    )
    pages = Path(curves.__file__).parent
    style = (pages / "look.css").read_text() + ".chart { font: 13px var(--text); background: var(--paper); }"
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="480" height="280" '
    return str(chart).replace("<svg ", head, 1).replace(">", f"><style>\n{style}\n</style>", 1)


def table(rows: Sequence[Row]) -> str:
    """PSNR, feature distance and bytes of captions at ``SHOWN``, a line for each writer, as docs/captions.md has it."""
    sets = [name for name in SETS if any(row["split"] == name for row in rows)]
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["setting"] == SHOWN:
            values = f"{row['psnr']:.2f} dB, {row['perceptual_effnet_lite2']:.3f}, {row['bytes_caption']:.0f}"
            cells.setdefault(str(row["writer"]), {})[str(row["split"])] = values
    lines = [["captions by", *sets], ["---"] * (len(sets) + 1)]
    lines += [[writer, *(values[name] for name in sets)] for writer, values in cells.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="icons-128", help="a shipped name or a folder")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--limit", type=int, default=64, help="pictures of each set, spread over it")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--plots", type=Path, help="folder for caption-worth-SET.svg")
    options = parser.parse_args()
    torch.manual_seed(0)
    tokenizer = ImageTokenizer.from_pretrained(options.model, dtype="float32")
    rows = list[Row]()
    settings = {"model": tokenizer.model_id, "limit": options.limit, "seed": 0, "budgets": BUDGETS}
    for name in options.sets:
        rows += scored(name, SETS[name], tokenizer, options.limit)
        write_result(options.out, settings=settings, rows=rows, made_by=environment())
    print(table(rows))
    for name in options.sets if options.plots else ():
        write_text(options.plots / f"caption-worth-{name}.svg", plot(rows, name, "psnr"))


if __name__ == "__main__":
    main()
