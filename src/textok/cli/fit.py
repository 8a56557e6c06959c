"""``textok fit``: from a folder of pictures to a tokenizer and a generator of one's own, by one command."""

import contextlib
import io
import json as json_format
import shlex
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from jaxtyping import UInt8
from torch import Tensor
from tyro.conf import Positional, arg

from textok.cli import checks, parsing
from textok.cli.check import check_source
from textok.cli.distributed import check_single_process
from textok.cli.options import DATA_HELP, Captions, Json, optional
from textok.cli.output import report
from textok.cli.table import find, load
from textok.data import DataConfig, EvalLoader, open_source
from textok.data.held_out import open_training
from textok.data.loading import SIDED
from textok.display import note
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.pages import render
from textok.models.card import CARD_FILE
from textok.models.checkpoint import CONFIG_FILE, FIT_FILE, model_folder, read_config
from textok.objectives.quality import psnr_per_image
from textok.pipeline.generation import Pipeline
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.recipes import GENERATOR_RECIPES, RECIPES
from textok.recipes import fit as recipes
from textok.training.generator.train import train_generator
from textok.training.run_folder import steps_of
from textok.training.tokenizer.train import train_tokenizer
from textok.writing import check_target, holds_nothing, write_json, write_text

_MEASURED = 6
_JUDGED, _SHOWN, _PROMPTS, _TOKENS = 256, 8, 4, 8
_TITLES = {"original": "held-out pictures", "start": "before: the start", "tuned": "after: this model"}
_LINES = """import textok
pipeline = textok.Pipeline.from_pretrained({model!r})
pipeline({prompt!r}, num_tokens={tokens})[0].save("made.png")"""


def fit(
    data: Annotated[Positional[str], arg(metavar="DATA", help=DATA_HELP)],
    *,
    out: Path,
    hours: Annotated[float | None, optional("H", "as long as they are worth")] = None,
    captions: Captions = None,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Train a tokenizer and a generator on your own pictures, with everything chosen for you.

    The same command goes on where it was stopped. The commands that it runs are printed, and written to commands.sh.

    Args:
        out: the folder of the model, which --model of the other commands takes; report.html is in it.
        hours: most hours for all of it; the speed of this machine is measured first.
        seed: of every random choice.
    """
    check_single_process()
    checks.seed(seed)
    check_target(out, sources=[data], overwrite=True)
    asked = {"data": data, "hours": hours, "captions": captions and str(captions), "seed": seed}
    record = _begun(out, asked) or _begin(out, asked)
    clock = time.monotonic()
    for reason in record["plan"]["reasons"]:
        note(reason)
    for stage, words in record["commands"].items():
        note(f"{'done' if stage in record['done'] else 'next'}: textok {shlex.join(words)}")
    for stage in record["commands"]:
        if stage not in record["done"]:
            clock = _go_on(stage, record, out, clock)
    page = _write_report(out, record, _config(asked, record["plan"]["tokenizer"]))
    report({"report": str(page)}, str(page), json=json)


def _go_on(stage: str, record: dict[str, Any], out: Path, clock: float) -> float:
    """Carry a stage out, and write down that it is done and what time it took since ``clock``; returns the time now."""
    ends = {"tokenizer": recipes.TOKENIZER_ENDS, "generator": recipes.GENERATOR_ENDS}.get(stage)
    words = record["commands"][stage]
    try:
        if record["asked"]["hours"] is not None and ends is not None:
            end = clock - record["spent"] + 3600 * ends * record["asked"]["hours"]
            if stage == "generator" and not (out / stage).exists():
                _fit_generator(record, out, seconds=end - time.monotonic())
            words = [*record["commands"][stage], "--hours", f"{max(1.0, end - time.monotonic()) / 3600:.4f}"]
        _run(words)
        record["done"].append(stage)
    finally:
        record["spent"] += time.monotonic() - clock
        _write(out, record)
    if stage == "tokenizer" and _keeps_start(out):
        note("no tuned weights were better on the held-out pictures: those that it started from are kept")
    return time.monotonic()


def _fit_generator(record: dict[str, Any], out: Path, *, seconds: float) -> None:
    """Set the steps of the generator to what the seconds that are left allow, at its own speed."""
    plan, before = record["plan"], str(record["plan"]["generator_steps"])
    run = GENERATOR_RECIPES[plan["generator"]]()
    judge = replace(run.preview, held_out=None, tokenizer="none")
    run = replace(run, latents=str(out / "latents"), batch_size=plan["generator_batch"], preview=judge)
    began = time.monotonic()
    speed = _measured_speed(train_generator, run)
    seconds -= time.monotonic() - began
    plan["generator_steps"] = recipes.steps("generator", record["facts"]["train"], seconds, speed)
    words = record["commands"]["generator"]
    words[words.index("--steps") + 1] = str(plan["generator_steps"])
    if before != words[words.index("--steps") + 1]:
        note(
            f"the generator trains on {speed:.1f} pictures a second: {plan['generator_steps']} steps, not {before}"
        )


def _run(words: list[str]) -> None:
    """Run a command as if its words had been typed; an interruption ends this one too."""
    name, options = find(words)
    parsing.run(load(name, options), options, prog=f"textok {name}")


def _begun(out: Path, asked: dict[str, Any]) -> dict[str, Any] | None:
    """What an earlier start of the same command chose, where there is one."""
    if not (out / FIT_FILE).is_file():
        if out.exists() and not holds_nothing(out):
            raise ValueError(
                f"out: got {out}, expected a new folder or one of textok fit; choose another --out"
            )
        return None
    record = json_format.loads((out / FIT_FILE).read_text(encoding="utf-8"))
    for name, value in record["asked"].items():
        if asked[name] != value:
            raise ValueError(
                f"{name}: got {asked[name]}, expected {value} as {out} began; choose another --out"
            )
    return record


def _begin(out: Path, asked: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    config = _config(asked)
    facts = _checked(config)
    mirror = facts.pop("mirror")
    count = len(open_training(config, source=None, split="val").train)
    mix, speed = _has_drawings(), 0.0
    recipes.choose(count, asked["hours"], 1.0, mix=mix)  # refuses wrong hours before the measurement
    if asked["hours"] is not None:
        run = RECIPES["icons-128"]()
        batch = min(recipes.BATCH["tuned"], count)
        judge = replace(run.validation, count=batch)
        mixed = recipes.MIX if mix and batch > 1 else None
        speed = _measured_speed(
            train_tokenizer, replace(run, data=config, batch_size=batch, validation=judge, mix=mixed)
        )
        note(f"the tokenizer trains on {speed:.1f} pictures a second here")
    plan = recipes.choose(count, asked["hours"], speed, mix=mix)
    words = recipes.commands(
        plan,
        data=asked["data"],
        out=out,
        captions=asked["captions"],
        seed=asked["seed"],
        mirror=mirror,
        skip_bad=facts["bad"] > 0,
    )
    record = {"asked": asked, "facts": facts | {"train": count}, "plan": asdict(plan), "commands": words}
    record |= {"done": [], "spent": time.monotonic() - began}
    _write(out, record)
    return json_format.loads((out / FIT_FILE).read_text(encoding="utf-8"))


def _write(out: Path, record: dict[str, Any]) -> None:
    write_json(out / FIT_FILE, record)  # first: a folder without it is somebody else's
    write_text(out / "commands.sh", "\n".join(["set -e", *_command_lines(record), ""]))


def _command_lines(record: dict[str, Any]) -> list[str]:
    return [f"textok {shlex.join(words)}" for words in record["commands"].values()]


def _has_drawings() -> bool:
    try:
        open_source(recipes.MIX.partition(":")[0], "train")
    except FileNotFoundError:
        return False
    return True


def _config(asked: dict[str, Any], recipe: str = "icons-128") -> DataConfig:
    side = RECIPES[recipe]().model.image_size
    return DataConfig(source=asked["data"], captions=asked["captions"], size=(side, side), on_bad="skip")


def _checked(config: DataConfig) -> dict[str, Any]:
    """Counts of the first pictures, and whether all of them may be mirrored; refuses too few good ones."""
    result, source = check_source(config, limit=recipes.MANY)
    good, bad, repeats = len(result.looks), len(result.bad), sum(len(group) - 1 for group in result.repeats())
    texts = [text for texts in result.captions.values() for text in texts]
    captioned = sum(map(bool, result.captions.values()))
    note(
        f"{config.source}: {len(source):,} pictures; of the first {good + bad:,} {captioned:,} have captions, {bad} "
        f"are bad, {repeats} are repeats (textok check says more)"
    )
    if good < 2 or bad > max(config.bad_grace, config.max_bad_share * (good + bad)):
        first = f", such as {result.bad[0].key}: {result.bad[0].reason}" if bad else ""
        raise ValueError(
            f"data: got {good} good and {bad} bad pictures{first}, expected at least 2, and under 1 % bad; see "
            "textok check"
        )
    if not captioned:
        note("there are no captions: textok caption writes some, and prompts mean something with them only")
    mirror = len(source) < recipes.MANY and not any(map(SIDED.search, texts))
    return {"pictures": len(source), "captioned": captioned, "bad": bad, "repeats": repeats, "mirror": mirror}


def _measured_speed(train: Callable[..., Path], run: Any) -> float:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        weights = train(replace(run, log_every=_MEASURED // 2), folder, stop_at=_MEASURED)
        if steps_of(weights) < _MEASURED:
            raise KeyboardInterrupt
        values = json_format.loads((Path(folder) / "metrics.jsonl").read_text().splitlines()[-1])
    return float(next(value for name, value in values.items() if name.endswith("_per_second")))


def _write_report(out: Path, record: dict[str, Any], data: DataConfig) -> Path:
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
    results = {"keeps_start": _keeps_start(out), "psnr_db": scores, "num_tokens": tokens}
    results |= {"held_out": len(pictures), "prompts": prompts}
    write_json(out / "report.json", {**record, **results})
    words = {
        "title": out.name,
        "lead": f"{_verdict(results)} {_limits(record)}",
        "reasons": record["plan"]["reasons"],
        "usage": _LINES.format(model=str(out), prompt=prompts[0], tokens=tokens),
    }
    write_text(out / CARD_FILE, render("fit.md", **words, commands=_command_lines(record)) + "\n")
    page = render(
        "fit.html",
        **words,
        rows={_TITLES[name]: images[:_SHOWN] for name, images in shown.items()},
        samples=zip(samples, (prompt or "no caption" for prompt in prompts), strict=True),
        facts=record["facts"],
    )
    write_text(out / "report.html", page)
    return out / "report.html"


def _keeps_start(out: Path) -> bool:
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
    few = "; a generator of so few repeats what it has seen" if facts["train"] < recipes.MANY else ""
    texts = "" if facts["captioned"] else " There were no captions, so that a prompt means nothing to it."
    short = (
        f" {steps} steps are too few for a generator; give it more hours."
        if steps < recipes.LEAST_WORTH["generator"]
        else ""
    )
    return f"It learned from {facts['train']:,} pictures{few}.{texts}{short}"
