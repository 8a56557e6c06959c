"""Ship a trained generator: its weights at 16 bits, and a model card made from recorded results.

    python runs/release_generator.py RUN --to weights/icons-128-generator
    textok evaluate generator ...      (as runs/icons128-generator.sh has it)
    python runs/release_generator.py RUN --to weights/icons-128-generator

The first call writes the weights; the second scores them; the third puts the scores into the card.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from textok.data.latents import read_manifest
from textok.evaluation.demo import PROMPTS
from textok.evaluation.pages.grids import sample_grid, save_picture
from textok.evaluation.results import meaning
from textok.models.generators import load_generator
from textok.models.tokenizer import count_parameters
from textok.pipeline.generation import Pipeline
from textok.training.run_folder import steps_of

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "generator_icons-128.json"
ACROSS, TOKENS = 6, 32
TOLD = ("split", "budget", "guidance", "count")


def main() -> None:
    """Write weights, samples and card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    options = parser.parse_args()
    model = load_generator(options.run / "weights")
    facts = summary(options.run) | {"sampling": model.made_by["sampling"]}
    model_id = model.save_pretrained(options.to, name="icons-128", dtype=torch.float16, made_by=facts)
    pipeline = Pipeline.from_pretrained(options.to)
    save_picture(samples(pipeline), options.to / "samples.png")
    scores = json.loads(RESULTS.read_text()) if RESULTS.exists() else None
    if scores is not None and scores["settings"]["model"] != model_id:
        scores = None  # of earlier weights
    (options.to / "README.md").write_text(card(pipeline, facts, scores, read_log(options.run)))
    print(f"{options.to}: {model_id}{'' if scores else '; no scores yet'}")


def samples(pipeline: Pipeline) -> Any:
    """The prompts of the demo, the first pictures of seed 0."""
    made = [
        pipeline(prompt, num_images=ACROSS, num_tokens=TOKENS, generator=seeded(), output="uint8")
        for prompt in PROMPTS
    ]
    return sample_grid(torch.stack(made), rows=list(PROMPTS))


def seeded() -> torch.Generator:
    """Seed 0."""
    return torch.Generator().manual_seed(0)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def summary(folder: Path) -> dict[str, Any]:
    """The facts of a run, small enough to travel with the weights."""
    run, log = json.loads((folder / "run.json").read_text()), read_log(folder)
    config, steps = run["config"], steps_of(folder / "weights")
    manifest = read_manifest(Path(config["latents"]))
    speeds = [row["rows_per_second"] for row in log if "rows_per_second" in row]
    return {
        "recipe": "icons-128-dit",
        "steps": steps,
        "planned_steps": config["steps"],
        "batch_size": config["batch_size"],
        "rows_seen": steps * config["batch_size"],
        "rows": manifest.rows,
        "pictures": manifest.pictures,
        "captions": manifest.settings["captions"],
        "data_fingerprint": manifest.fingerprint,
        "tokenizer": manifest.tokenizer,
        "seed": config["seed"],
        "optimizer": config["optimizer"],
        "budgets": config["budgets"],
        "flow": config["flow"],
        "condition_dropout": config["condition_dropout"],
        "minutes": round(sum(config["log_every"] * config["batch_size"] / s for s in speeds) / 60, 1),
        "hardware": run["environment"]["machine"]["cpu"],
        "threads": run["environment"]["machine"]["threads"],
        "code": run["environment"]["code"],
        "libraries": run["environment"]["libraries"],
        "licence": "Apache-2.0",
    }


def card(
    pipeline: Pipeline, facts: dict[str, Any], scores: dict[str, Any] | None, log: list[dict[str, Any]]
) -> str:
    """The model card, in Markdown."""
    config = pipeline.generator.config
    text = (Path(__file__).parent / "generator_card.template.md").read_text()
    values = facts | {
        "model_id": pipeline.generator.model_id,
        "parameters": f"{count_parameters(pipeline.generator.requires_grad_(True)) / 1e6:.1f}M",
        "depth": config.depth,
        "width": config.dim,
        "rows_seen": f"{facts['rows_seen']:,}",
        "rows": f"{facts['rows']:,}",
        "pictures": f"{facts['pictures']:,}",
        "captions": " and ".join(facts["captions"]),
        "steps_told": f"{facts['steps']:,} of {facts['planned_steps']:,}",
        "rate": f"{facts['optimizer']['lr']:g}",
        "default_steps": facts["sampling"]["steps"],
        "default_guidance": f"{facts['sampling']['guidance']:g}",
        "curve": curve(log),
        "scores": "not measured yet" if scores is None else table(scores["rows"]),
    }
    for key, value in values.items():
        text = text.replace("{{" + key + "}}", str(value))
    return text


def curve(log: list[dict[str, Any]]) -> str:
    """Held-out loss over the training."""
    rows = [row for row in log if "val/loss_k8" in row]
    names = [name for name in rows[0] if name != "step"]
    kept = rows if len(rows) <= 8 else [*rows[:: len(rows) // 6], rows[-1]]
    head = "| step | " + " | ".join(name.removeprefix("val/loss_k") + " tokens" for name in names) + " |\n"
    head += "|---|" + "---|" * len(names) + "\n"
    lines = [f"| {row['step']} | " + " | ".join(f"{row[n]:.3f}" for n in names) + " |" for row in kept]
    return head + "\n".join(dict.fromkeys(lines))


def table(rows: list[dict[str, Any]]) -> str:
    """A line a metric, a column for each budget and guidance scale."""
    heads = [f"{row['budget']} tokens, guidance {row['guidance']:g}" for row in rows]
    head = "| metric | " + " | ".join(heads) + " | |\n|---|" + "---|" * (len(rows) + 1) + "\n"
    lines = []
    for name in rows[0]:
        if name not in TOLD and not name.startswith("count"):
            cells = " | ".join(_number(row[name]) for row in rows)
            lines.append(f"| `{name}` | {cells} | {meaning(name).advice} |")
    return head + "\n".join(lines)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
