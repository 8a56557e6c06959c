"""Bits per pixel against PSNR, perceptual and Fréchet distance: .ttk files beside JPEG, WebP and AVIF.

    python benchmarks/rate_distortion.py --html report.html

New drawings (test-drawing) and photographs, which the tokenizer never saw, at 128 px, with their right captions.
Classic codecs code the picture whole or made smaller (and enlarged afterwards), at their lowest qualities. Counted
are whole files (of ours the file of all pictures with its names and index), and apart from them the coded numbers
alone, as if all pictures shared one header. The page shows the same pictures at about equal bytes of these.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from rates.coding import FORMATS, Coded, RateJudge, Setting, classic, tokens_at
from rates.page import rate_page
from textok.codec import find_prior
from textok.data import DataConfig, EvalLoader
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.networks import EffNetLite2
from textok.evaluation.results import Row, write_result
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.training.run_folder import environment
from textok.writing import write_text

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "rate_distortion.json"
SETS = {"test-drawing": ("icons-128", "test-drawing"), "photos": ("photos-256", None)}
MODEL = "icons-128"
BUDGETS = (1, 2, 4, 8, 16, 32)
LADDER = {
    "JPEG": {128: (1, 10, 25, 50), 64: (1, 10, 30), 32: (1, 20, 60), 16: (1, 30, 70), 8: (30, 80)},
    "WebP": {128: (0, 15, 40, 70), 64: (0, 20, 60), 32: (0, 40, 90), 16: (0, 30, 60), 8: (0, 60)},
    "AVIF": {128: (0, 15, 35, 55), 64: (0, 20, 45), 32: (0, 30, 60), 16: (0, 40), 8: (0, 50)},
}
"""Codec -> side -> qualities."""
METRICS = ("psnr", "perceptual_effnet_lite2", "fd_effnet_lite2")
SHOWN, SHOWN_TOKENS = 6, 16


def settings() -> list[Setting]:
    """All of the ladder."""
    return [
        Setting(codec=codec, quality=quality, side=side)
        for codec, sides in LADDER.items()
        for side, qualities in sides.items()
        for quality in qualities
    ]


def scored(
    pictures: CaptionedPictures, tokenizer: ImageTokenizer
) -> tuple[list[Row], dict[str, list[Tensor]]]:
    """Rows of a set, and pictures to show: the originals, ours, and each codec's nearest in payload to ours."""
    judge, prior = RateJudge(pictures, EffNetLite2()), find_prior(MODEL, model_id=tokenizer.model_id)
    places = torch.linspace(0, len(pictures) - 1, SHOWN).round().long()
    rows, nearest, own = list[Row](), dict[str, Coded](), None
    for coded in tokens_at(tokenizer, pictures, BUDGETS, prior=prior):
        rows.append(judge.row(coded))
        own = coded if coded.setting == f"{SHOWN_TOKENS} tokens" else own
    assert own is not None
    aimed = own.sizes["bytes_payload"]
    for setting in settings():
        coded = classic(pictures.images, setting)
        rows.append(judge.row(coded))
        print(pictures.split, coded.codec, coded.setting, f"{coded.sizes['bytes']:.0f} bytes", flush=True)
        known = nearest.get(coded.codec)
        if known is None or abs(coded.sizes["bytes_payload"] - aimed) < abs(
            known.sizes["bytes_payload"] - aimed
        ):
            nearest[coded.codec] = coded
    shown = {"originals": list(pictures.images[places])}
    for coded in (own, *(nearest[codec] for codec in FORMATS)):
        sizes = f"{coded.sizes['bytes_payload']:.0f} bytes, file {coded.sizes['bytes']:.0f}"
        shown[f"{coded.codec}, {coded.setting}: {sizes}"] = list(coded.images[places])
    return rows, shown


def main() -> None:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, help="pictures of each set, spread over it; all when left out")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--html", type=Path, help="also a page of curves and pictures")
    options = parser.parse_args()
    tokenizer = ImageTokenizer.from_pretrained(MODEL)
    side = tokenizer.model.config.image_size
    rows, shown = list[Row](), dict[str, dict[str, list[Tensor]]]()
    for name in options.sets:
        folder, split = SETS[name]
        data = DataConfig(source=str(ROOT / "datasets" / folder), split=split, size=(side, side))
        found = CaptionedPictures.collect(name, EvalLoader(data, batch_size=64))
        pictures = found if options.limit is None else found.spread(options.limit)
        made, shown[name] = scored(pictures, tokenizer)
        rows += made
    told = {"model": tokenizer.model_id, "limit": options.limit, "side": side, "formats": FORMATS}
    told |= {
        "captions": "right",
        "counted": "whole files; payload: without names and headers",
        "enlarged": "bicubic",
        "smaller": "lanczos",
    }
    write_result(options.out, settings=told, rows=rows, made_by=environment())
    if options.html is not None:
        write_text(options.html, rate_page(rows, METRICS, shown))


if __name__ == "__main__":
    main()
