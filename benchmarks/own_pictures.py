"""What tuning on 200 photographs gives on others, for a tokenizer that was trained on drawings alone.

    python benchmarks/own_pictures.py

200 of the 226 photographs, by the hash of their keys, are the own pictures: a training holds out 8 of them to choose
its weights, and the other 26 are seen by nothing but the last scores. Every arm is one `textok train tokenizer` from
the same start. Drawings of the validation split say what is lost of what the start knew. Results are written after
each arm.
"""

import argparse
import hashlib
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from textok.data import DataConfig, EvalLoader, open_source
from textok.data.samples import spread
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.results import Row, write_result
from textok.objectives.quality import psnr_per_image
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.training.run_folder import environment

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "own_pictures_tuned.json"
START, OWN, TOKENS, DRAWINGS = "icons-128", 200, 8, 100
ARMS = {
    "flips": ["--data.flip"],
    "flips, crops": ["--data.flip", "--data.crop", "0.1"],
    "flips, crops, mix": ["--data.flip", "--data.crop", "0.1", "--mix", "icons:0.25"],
}


def main() -> None:
    """Train, score, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", default="1e-3")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_photographs(work)
        judges = {"other photographs": stored(work / "others"), "drawings": drawings()}
        rows: list[Row] = [{"arm": "start", **scores(START, judges)}]
        for arm in options.arms:
            command = training(options, ARMS[arm])
            began = time.perf_counter()
            subprocess.run([sys.executable, "-m", "textok.cli", *command], check=True, cwd=work)
            seconds = time.perf_counter() - began
            rows.append(
                {"arm": arm, **scores(str(work / "run"), judges), "seconds": round(seconds)}
                | {"command": shlex.join(["textok", *command])}
            )
            (work / "run").rename(work / f"run-{len(rows)}")
            settings = {"start": START, "own": OWN, "tokens": TOKENS, "seed": options.seed}
            settings |= {name: len(pictures) for name, pictures in judges.items()}
            write_result(options.out, settings=settings, rows=rows, made_by=environment())
            print({name: value for name, value in rows[-1].items() if name != "command"}, flush=True)


def write_photographs(work: Path) -> None:
    """The own photographs and the others, each a folder with captions beside."""
    source = open_source(ROOT / "datasets" / "photos-256")
    samples = [source.read(index) for index in range(len(source))]
    order = sorted(samples, key=lambda sample: hashlib.sha256(sample.key.encode()).digest())
    for name, part in (("own", order[:OWN]), ("others", order[OWN:])):
        (work / name).mkdir()
        for sample in part:
            assert isinstance(sample.image, bytes), "photographs are stored"
            (work / name / f"{sample.key}.webp").write_bytes(sample.image)
            (work / name / f"{sample.key}.txt").write_text(sample.captions[0])


def training(options: argparse.Namespace, words: list[str]) -> list[str]:
    """The words of the command after textok."""
    return [
        *("train", "tokenizer", START, "--data.source", "own", "--data.split", "None"),
        *("--init-from", START, "--optimizer.lr", options.lr, "--steps", str(options.steps)),
        *("--batch-size", str(options.batch_size), "--seed", str(options.seed), *words),
        *("--validation.best-by", "psnr", "--validation.budgets", str(TOKENS), "--out", "run"),
    ]


def stored(folder: Path) -> CaptionedPictures:
    """All pictures of a folder."""
    return CaptionedPictures.open(str(folder), side=128)


def drawings() -> CaptionedPictures:
    """Drawings that the start was not trained on."""
    config = DataConfig(source="icons", split="val", size=(128, 128))
    return CaptionedPictures.collect(
        "drawings", EvalLoader(config, batch_size=50, source=spread(config.open(), DRAWINGS))
    )


def scores(model: str, judges: dict[str, CaptionedPictures]) -> Row:
    """Mean PSNR of the reconstructions with the right caption, in dB."""
    tokenizer = ImageTokenizer.from_pretrained(model)
    row: Row = {}
    for name, pictures in judges.items():
        tokens = tokenizer.encode(list(pictures.images), list(pictures.captions), num_tokens=TOKENS)
        values = psnr_per_image(pictures.images, tokenizer.decode(tokens, output="uint8"))
        row[f"psnr_db, {name}"] = round(float(values.mean()), 3)
    return row


if __name__ == "__main__":
    main()
