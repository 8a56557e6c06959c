"""The report and the model card of ``textok fit``: what came out, beside what it started from."""

import shlex
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from textok.data import DataConfig, EvalLoader
from textok.data.held_out import open_training
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.pages import render
from textok.models.card import CARD_FILE
from textok.models.checkpoint import CONFIG_FILE, model_folder, read_config
from textok.objectives.quality import psnr_per_image
from textok.pipeline.generation import Pipeline
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.recipes.fit import LEAST_WORTH, MANY
from textok.writing import write_json, write_text

_JUDGED, _SHOWN, _PROMPTS, _TOKENS = 256, 8, 4, 8
_TITLES = {"original": "held-out pictures", "start": "before: the start", "tuned": "after: this model"}
_LINES = """import textok
pipeline = textok.Pipeline.from_pretrained({model!r})
pipeline({prompt!r}, num_tokens={tokens})[0].save("made.png")"""


def write_report(out: Path, record: dict[str, Any], data: DataConfig) -> Path:
    """Score and draw held-out pictures, write report.json, report.html and README.md; returns the page."""
    held_out = open_training(data, source=None, split="val").held_out
    loader = EvalLoader(data, batch_size=32, source=held_out)
    pictures = CaptionedPictures.collect("held out", loader, limit=_JUDGED)
    pipeline = Pipeline.from_pretrained(out)
    tokens = min(_TOKENS, pipeline.tokenizer.model.config.num_latents)
    names = {"start": record["plan"]["init_from"], "tuned": str(out)}
    shown = {"original": pictures.images}
    shown |= {name: _reconstructed(model, pictures, tokens) for name, model in names.items() if model}
    scores = {
        name: float(psnr_per_image(pictures.images, shown[name]).mean()) for name in names if name in shown
    }
    prompts = [text for text in dict.fromkeys(pictures.captions) if text][:_PROMPTS] or [""]
    samples = pipeline(prompts, num_tokens=tokens, output="uint8")
    results = {
        "keeps_start": keeps_start(out),
        "psnr_db": scores,
        "num_tokens": tokens,
        "held_out": len(pictures),
        "prompts": prompts,
    }
    write_json(out / "report.json", {**record, **results})
    usage = _LINES.format(model=str(out), prompt=prompts[0], tokens=tokens)
    write_text(out / CARD_FILE, _card(out, record, results, usage))
    page = render(
        "fit.html",
        title=out.name,
        lead=f"{_verdict(results)} {_limits(record)}",
        rows={_TITLES[name]: images[:_SHOWN] for name, images in shown.items()},
        samples=zip(samples, (prompt or "no caption" for prompt in prompts), strict=True),
        facts=record["facts"],
        reasons=record["plan"]["reasons"],
        usage=usage,
    )
    write_text(out / "report.html", page)
    return out / "report.html"


def keeps_start(out: Path) -> bool:
    """Whether no tuned weights were better on the held-out pictures than those that the tokenizer started from."""
    made_by = read_config(model_folder(out) / CONFIG_FILE).get("made_by", {})
    return made_by.get("step") == 0


def _reconstructed(model: str, pictures: CaptionedPictures, tokens: int) -> UInt8[Tensor, "n 3 h w"]:
    tokenizer = ImageTokenizer.from_pretrained(model)
    made = tokenizer.encode(list(pictures.images), list(pictures.captions), num_tokens=tokens)
    return tokenizer.decode(made, output="uint8")


def _verdict(results: dict[str, Any]) -> str:
    scores, count = results["psnr_db"], results["held_out"]
    line = f"{count} held-out pictures at {results['num_tokens']} tokens: PSNR {scores['tuned']:.2f} dB"
    if "start" not in scores:
        return f"{line}."
    if results["keeps_start"]:
        return f"{line}, by the weights it started from: no tuned ones were better. More pictures or hours may help."
    gain = scores["tuned"] - scores["start"]
    return f"{line}; {scores['start']:.2f} dB with the weights it started from ({gain:+.2f})."


def _limits(record: dict[str, Any]) -> str:
    facts, steps = record["facts"], record["plan"]["generator_steps"]
    few = "; a generator of so few repeats what it has seen" if facts["train"] < MANY else ""
    texts = "" if facts["captioned"] else " There were no captions, so that a prompt means nothing to it."
    short = (
        f" {steps} steps are too few for a generator; give it more hours."
        if steps < LEAST_WORTH["generator"]
        else ""
    )
    return f"It learned from {facts['train']:,} pictures{few}.{texts}{short}"


def _card(out: Path, record: dict[str, Any], results: dict[str, Any], usage: str) -> str:
    reasons = "\n".join(f"- {reason}" for reason in record["plan"]["reasons"])
    lines = "\n".join(f"textok {shlex.join(words)}" for words in record["commands"].values())
    return (
        f"---\nlibrary_name: open-textok\n---\n\n# {out.name}\n\nA tokenizer and a generator, made by textok fit.\n\n"
        f"{_verdict(results)} {_limits(record)}\n\n```python\n{usage}\n```\n\n## What was chosen\n\n"
        f"{reasons}\n\n```bash\n{lines}\n```\n"
    )
