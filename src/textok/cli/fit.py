"""``textok fit``: from a folder of pictures to a tokenizer and a generator of one's own, by one command."""

import contextlib
import io
import json as json_format
import re
import shlex
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from textok.cli.checks import check_seed
from textok.cli.fit_report import write_report
from textok.cli.options import DATA_HELP, Captions
from textok.cli.output import report
from textok.cli.table import find, load
from textok.data import DataConfig
from textok.data.held_out import open_training
from textok.data.latent_shards import MANIFEST, read_manifest
from textok.display import note
from textok.models.checkpoint import FIT_FILE
from textok.pipeline.source_check import check_source
from textok.recipes import RECIPES
from textok.recipes import fit as recipes
from textok.training.run_folder import steps_of
from textok.training.tokenizer.train import train_tokenizer
from textok.writing import check_target, write_json, write_text

_LOOKED_AT = recipes.MANY
_SIDES = re.compile(r"\b(left|right|text|words?|letters?|numbers?|written|writing|signs?)\b", re.IGNORECASE)


def fit(
    data: Annotated[Positional[str], arg(metavar="DATA", help=DATA_HELP)],
    *,
    out: Path,
    hours: Annotated[
        float | None, arg(metavar="H", help_behavior_hint="(default: as long as they are worth)")
    ] = None,
    captions: Captions = None,
    seed: int = 0,
) -> None:
    """Train a tokenizer and a generator on your own pictures, with everything chosen for you.

    The same command goes on where it was stopped. The commands that it runs are printed, and written to commands.sh.

    Args:
        out: the folder of the model, which --model of the other commands takes; report.html is in it.
        hours: most hours for all of it; the speed of this machine is measured first.
        captions: captions by key (what textok caption wrote, or a JSON file), instead of those of the data.
        seed: of every random choice.
    """
    check_seed(seed)
    check_target(out, sources=[data], overwrite=True)
    asked = {
        "data": data,
        "hours": hours,
        "captions": None if captions is None else str(captions),
        "seed": seed,
    }
    record = _begun(out, asked) or _begin(out, asked)
    for reason in record["plan"]["reasons"]:
        note(reason)
    for stage, words in record["commands"].items():
        note(f"{'done' if _is_done(out, stage, record) else 'next'}: textok {shlex.join(words)}")
    for stage, words in record["commands"].items():
        if not _is_done(out, stage, record):
            _run(words)
    page = write_report(out, record, _config(asked, RECIPES[record["plan"]["tokenizer"]]().model.image_size))
    report(str(page), str(page), json=False)


def _run(words: list[str]) -> None:
    """Run a command as if its words had been typed; an interruption ends this one too."""
    from textok.cli.parsing import run

    name, options = find(words)
    run(load(name, options), options, prog=f"textok {name}")


def _is_done(out: Path, stage: str, record: dict[str, Any]) -> bool:
    if stage.startswith("latents"):
        return (out / stage / MANIFEST).is_file() and read_manifest(out / stage).complete
    return steps_of(out / stage / "weights") >= record["plan"][f"{stage}_steps"]


def _begun(out: Path, asked: dict[str, Any]) -> dict[str, Any] | None:
    """What an earlier start of the same command chose; None where there is none.

    Raises:
        ValueError: when the folder holds something else.
    """
    if not (out / FIT_FILE).is_file():
        if out.exists() and any(out.iterdir()):
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
    """Look at the pictures, choose, and write down what was chosen."""
    config = _config(asked, 128)
    facts = _checked(config)
    flip = facts.pop("flip")
    count = len(open_training(config, source=None, split="val").train)
    speed = 0.0
    if asked["hours"] is not None:
        recipes.choose(count, asked["hours"], 1.0)  # refuses wrong hours before the measurement
        speed = _measured_speed(config, batch=min(64, count))
    plan = recipes.choose(count, asked["hours"], speed)
    words = recipes.commands(
        plan,
        data=asked["data"],
        out=out,
        captions=asked["captions"],
        seed=asked["seed"],
        flip=flip,
        skip_bad=facts["bad"] > 0,
    )
    record = {"asked": asked, "facts": facts | {"train": count}, "plan": asdict(plan), "commands": words}
    lines = [f"textok {shlex.join(command)}" for command in words.values()]
    write_text(out / "commands.sh", "\n".join(["set -e", *lines, ""]))
    write_json(out / FIT_FILE, record)
    return json_format.loads((out / FIT_FILE).read_text(encoding="utf-8"))


def _config(asked: dict[str, Any], side: int) -> DataConfig:
    return DataConfig(source=asked["data"], captions=asked["captions"], size=(side, side), on_bad="skip")


def _checked(config: DataConfig) -> dict[str, Any]:
    """Counts of the first pictures, and whether they may be mirrored.

    Raises:
        ValueError: when there are too few good ones.
    """
    result, source = check_source(config, limit=_LOOKED_AT)
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
            f"data: got {good} good and {bad} bad pictures{first}; expected at least 2, and under 1 % bad; see "
            "textok check"
        )
    if not captioned:
        note("there are no captions: textok caption writes some, and prompts mean something with them only")
    flip = len(source) < recipes.MANY and not any(map(_SIDES.search, texts))
    return {"pictures": len(source), "captioned": captioned, "bad": bad, "repeats": repeats, "flip": flip}


def _measured_speed(config: DataConfig, *, batch: int) -> float:
    """Pictures a second of the real training, over its third and fourth step."""
    run = RECIPES["icons-128"]()
    judge = replace(run.validation, count=batch)
    run = replace(run, data=config, batch_size=batch, micro_batch=batch, log_every=2, validation=judge)
    note("measuring how fast this machine trains, over 4 steps")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        train_tokenizer(run, folder, stop_at=4)
        lines = (
            (Path(folder) / "metrics.jsonl").read_text().splitlines()
            if steps_of(Path(folder) / "weights") == 4
            else []
        )
    if not lines:
        raise KeyboardInterrupt
    return float(json_format.loads(lines[-1])["images_per_second"])
