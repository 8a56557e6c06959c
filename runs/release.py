"""Ship a trained tokenizer: its weights at 16 bits, and a model card made from recorded results.

    python runs/release.py RUN --to weights/icons-128-tokenizer
    python benchmarks/reconstruction.py --model icons-128
    python runs/release.py RUN --to weights/icons-128-tokenizer

The first call writes the weights; the second scores them; the third puts the scores into the card.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from textok.data import DataConfig, EvalLoader
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.evaluator import Evaluator
from textok.evaluation.networks import EffNetLite2
from textok.evaluation.pages.grids import reconstruction_grid, save_picture
from textok.models.tokenizer import TexTok, count_parameters

ROOT = Path(__file__).resolve().parents[1]
PHASE = ("steps", "planned_steps", "pictures_seen", "optimizer", "minutes", "cores", "code")


def main() -> None:
    """Write weights, configuration and card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument(
        "--earlier",
        type=Path,
        nargs="*",
        default=[],
        help="run folders that RUN started from, the first first",
    )
    options = parser.parse_args()
    model = TexTok.from_pretrained(options.run / "weights")
    phases = [summary(folder) for folder in (*options.earlier, options.run)]
    log = [row for folder in (*options.earlier, options.run) for row in read_log(folder)]
    made_by = {**phases[-1], "phases": [{k: v for k, v in p.items() if k in PHASE} for p in phases]}
    made_by["cores"] = max(p["cores"] for p in phases)
    made_by |= {k: round(sum(p[k] for p in phases), 1) for k in ("steps", "pictures_seen", "minutes")}
    name = made_by["recipe"]
    model_id = model.save_pretrained(options.to, name=name, dtype=torch.float16, made_by=made_by)
    results = ROOT / "benchmarks" / "results" / f"reconstruction_{name}.json"
    scores = json.loads(results.read_text()) if results.exists() else None
    if scores is not None and scores["settings"]["model"] != model_id:
        scores = None  # of earlier weights
    (options.to / "README.md").write_text(card(model, model_id, made_by, log, scores))
    if scores is not None:
        save_picture(
            samples(TexTok.from_pretrained(options.to), scores["samples"]), options.to / "samples.png"
        )
    print(f"{options.to}: {model_id}{'' if scores else '; no scores yet'}")


def samples(model: TexTok, keys: dict[str, list[str]]) -> Image.Image:
    """Chosen pictures of every split with their reconstructions, one sheet."""
    evaluator = Evaluator.load(model, EffNetLite2(), semantics=False)
    sheets = []
    for name, chosen in keys.items():
        pictures = test_pictures(name, size=model.config.image_size)
        shown = pictures.take([pictures.keys.index(key) for key in chosen])
        sheets.append(reconstruction_grid(shown, evaluator.reconstruct(shown, budgets=(2, 8, 32))))
    whole = Image.new("RGB", (max(s.width for s in sheets), sum(s.height for s in sheets)), "white")
    top = 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return whole


def test_pictures(name: str, *, size: int) -> CaptionedPictures:
    """A test set by the name that the scores give it."""
    folder, split = ("photos-256", None) if name == "photos" else ("icons-128", name)
    config = DataConfig(source=str(ROOT / "datasets" / folder), split=split, size=(size, size))
    return CaptionedPictures.collect(name, EvalLoader(config, batch_size=64))


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def summary(folder: Path) -> dict[str, Any]:
    """The facts of a run, small enough to travel with the weights."""
    run, log = json.loads((folder / "run.json").read_text()), read_log(folder)
    config = run["config"]
    speeds = [row["images_per_second"] for row in log if "images_per_second" in row]
    steps = log[-1]["step"]
    return {
        "recipe": config["name"],
        "steps": steps,
        "planned_steps": config["steps"],
        "batch_size": config["batch_size"],
        "pictures_seen": steps * config["batch_size"],
        "training_pictures": run["facts"]["samples"],
        "data": config["data"]["source"] + ", " + config["data"]["split"],
        "data_fingerprint": run["facts"]["data"],
        "seed": config["seed"],
        "loss": config["loss"],
        "optimizer": config["optimizer"],
        "budgets": config["budgets"],
        "caption_dropout": config["caption_dropout"],
        "minutes": round(sum(config["log_every"] * config["batch_size"] / s for s in speeds) / 60, 1),
        "hardware": run["environment"]["machine"]["cpu"],
        "cores": run["environment"]["machine"]["threads"],
        "code": run["environment"]["code"],
        "libraries": run["environment"]["libraries"],
        "licence": "Apache-2.0",
    }


def card(
    model: TexTok,
    model_id: str,
    made_by: dict[str, Any],
    log: list[dict[str, Any]],
    scores: dict[str, Any] | None,
) -> str:
    """The model card, in Markdown."""
    config = model.config
    text = (Path(__file__).parent / "card.template.md").read_text()
    values = {
        "model_id": model_id,
        "parameters": f"{count_parameters(model) / 1e6:.2f}M",
        "size": config.image_size,
        "patch": config.patch_size,
        "latents": config.num_latents,
        "channels": config.latent_dim,
        "blocks": f"{config.encoder_depth} + {config.decoder_depth}",
        "width": config.dim,
        **{key: made_by[key] for key in ("recipe", "steps", "batch_size", "minutes", "seed", "code")},
        "hardware": f"up to {made_by['cores']} cores of an {made_by['hardware']}",
        "pictures_seen": f"{made_by['pictures_seen']:,}",
        "phases": ", then ".join(map(phase, made_by["phases"])),
        "training_pictures": f"{made_by['training_pictures']:,}",
        "curve": curve(log),
        "scores": "not measured yet" if scores is None else tables(scores["rows"]),
        "checks": "not measured yet" if scores is None else verdict(scores["checks"]),
    }
    for key, value in values.items():
        text = text.replace("{{" + key + "}}", str(value))
    return text


def phase(facts: dict[str, Any]) -> str:
    """One run of the training, in words."""
    steps, rate, cores = (
        f"{facts['steps']:,} of {facts['planned_steps']:,}",
        facts["optimizer"]["lr"],
        facts["cores"],
    )
    return f"{steps} at a peak rate of {rate:g} on {cores} core{'s' * (cores > 1)}"


def curve(log: list[dict[str, Any]]) -> str:
    """Validation PSNR and perceptual distance over the training, right caption."""
    rows, before, last = [], 0, 0
    for row in log:
        if row["step"] < last:  # the next phase counts from 0 again
            before += last
        last = row["step"]
        if "val/right/8/psnr" in row:
            rows.append(row | {"step": before + last})
    head = "| step | PSNR 2 / 8 / 32 tokens | perceptual 2 / 8 / 32 tokens |\n|---|---|---|\n"
    lines = []
    for row in rows:
        cells = [
            " / ".join(f"{row[f'val/right/{k}/{metric}']:.{digits}f}" for k in (2, 8, 32))
            for metric, digits in (("psnr", 2), ("perceptual_effnet_lite2", 3))
        ]
        lines.append(f"| {row['step']} | {cells[0]} | {cells[1]} |")
    return head + "\n".join(lines)


def tables(rows: list[dict[str, Any]]) -> str:
    """One table a metric: splits and caption conditions down, budgets across."""
    budgets = sorted({row["budget"] for row in rows})
    parts = []
    for metric, digits in (("psnr", 2), ("ssim", 3), ("perceptual_effnet_lite2", 3), ("fd_effnet_lite2", 1)):
        head = f"**{metric}**\n\n| split (pictures) | caption | " + " | ".join(map(str, budgets)) + " |\n"
        head += "|---|---|" + "---|" * len(budgets) + "\n"
        lines = {}
        for row in rows:
            line = lines.setdefault((row["split"], row["count"], row["captions"]), [])
            line.append(f"{row[metric]:.{digits}f}")
        body = [f"| {s} ({n}) | {c} | " + " | ".join(cells) + " |" for (s, n, c), cells in lines.items()]
        parts.append(head + "\n".join(body))
    return "\n\n".join(parts)


def verdict(checks: dict[str, Any]) -> str:
    """What the checks found, in words."""
    worse, beaten = checks["budgets_worse_than_half"], checks["right_caption_not_best"]
    first = "No budget reconstructs worse than half of it (PSNR)." if not worse else (
        "A budget reconstructs worse than half of it (PSNR) in: "
        + "; ".join(f"{s}, {c} caption, {k} tokens" for s, c, k in worse) + "."
    )  # fmt: skip
    second = "The right caption beats none and a wrong one in every cell (PSNR)." if not beaten else (
        "The right caption does not beat the other in: "
        + "; ".join(f"{s}, {k} tokens, against {o}" for s, k, o in beaten) + "."
    )  # fmt: skip
    return f"{first} {second}"


if __name__ == "__main__":
    main()
