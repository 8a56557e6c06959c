"""Score a tokenizer on every test split, at every budget, with the right caption, none and a wrong one.

    python benchmarks/reconstruction.py --model icons-128

writes benchmarks/results/reconstruction_MODEL.json and prints two tables: PSNR, and what must hold (a
budget is never worse than half of it; the right caption beats none and wrong).
"""

import argparse
import json
from pathlib import Path

import torch

from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.evaluator import Evaluator
from textok.evaluation.networks import EffNetLite2
from textok.evaluation.results import Row
from textok.models.tokenizer import TexTok
from textok.pipeline.precision import inference_dtype
from textok.training.run_folder import environment

ROOT = Path(__file__).resolve().parents[1]
BUDGETS = (1, 2, 4, 8, 16, 32)
SETS = {
    "test-drawing": ("icons-128", "test-drawing"),
    "test-concept": ("icons-128", "test-concept"),
    "photos": ("photos-256", None),
}


def main() -> None:
    """Score, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="icons-128", help="shipped name, folder or hub id")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = score(TexTok.from_pretrained(options.model))
    out = options.out or ROOT / "benchmarks" / "results" / f"reconstruction_{Path(options.model).name}.json"
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["checks"], indent=2))


def score(model: TexTok) -> dict[str, object]:
    """All cells of all sets, what must hold of them, and how they were made."""
    dtype = inference_dtype("cpu")
    autocast = None if dtype == torch.float32 else dtype
    evaluator = Evaluator.load(model, EffNetLite2(), semantics=False, batch_size=50, autocast=autocast)
    budgets = [k for k in BUDGETS if k <= model.config.num_latents]
    rows: list[Row] = []
    samples: dict[str, list[str]] = {}
    for name in SETS:
        scores = evaluator.score(pictures(name, side=model.config.image_size), budgets=budgets)
        rows += scores.rows
        samples[name] = best_median_worst(scores.per_image)
        show(name, scores.rows)
    return {
        "settings": evaluator.settings,
        "made_by": environment(),
        "checks": checks(rows),
        "samples": samples,
        "rows": rows,
    }


def pictures(name: str, *, side: int) -> CaptionedPictures:
    """A test set by name."""
    folder, split = SETS[name]
    return CaptionedPictures.open(str(ROOT / "datasets" / folder), split=split, name=name, side=side)


def best_median_worst(per_image: list[Row], *, budget: int = 8) -> list[str]:
    """Keys of three pictures by PSNR with the right caption."""
    ranked = sorted(
        (row for row in per_image if row["captions"] == "right" and row["budget"] == budget),
        key=lambda row: -float(row["psnr"]),
    )
    return [str(ranked[place]["key"]) for place in (0, len(ranked) // 2, -1)]


def show(name: str, rows: list[Row]) -> None:
    """PSNR and perceptual distance, one line a caption condition."""
    for metric in ("psnr", "perceptual_effnet_lite2", "fd_effnet_lite2"):
        for captions in ("right", "none", "wrong"):
            line = [f"{float(row[metric]):8.3f}" for row in rows if row["captions"] == captions]
            print(f"{name:13} {metric:24} {captions:6}", *line)


def checks(rows: list[Row]) -> dict[str, object]:
    """What must hold of a released tokenizer, with the cells where it does not."""
    psnr = {(r["split"], r["captions"], r["budget"]): float(r["psnr"]) for r in rows}
    worse_than_half = [
        cell for cell, value in psnr.items() if psnr.get((cell[0], cell[1], int(cell[2]) // 2), -1.0) > value
    ]
    right_not_best = [
        (split, budget, other)
        for (split, captions, budget), value in psnr.items()
        if captions == "right"
        for other in ("none", "wrong")
        if psnr[split, other, budget] >= value
    ]
    return {"budgets_worse_than_half": worse_than_half, "right_caption_not_best": right_not_best}


if __name__ == "__main__":
    main()
