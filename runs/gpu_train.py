"""Trains a list of runs on one device within a time limit, several side by side, and packs what they left.

    python runs/gpu_train.py runs/gpu_default.txt --out trained --seconds 300
    python runs/gpu_train.py runs/gpu_study.txt --out trained --seconds 330 --jobs 4

A line of the list is NAME RECIPE SEED PICTURES [OPTIONS of textok train tokenizer]. PICTURES "rest" trains as long as
there is time: the speed of the first steps, which belong to the warm-up, decides how many follow, so that any machine
ends in a full schedule. A run whose folder holds a checkpoint goes on. When the time is over, all save and stop.

Then ``--pack FILE`` takes, as far as ``--pack-mb`` allows, the records and scores of all, their weights in 16 bits, and
their light checkpoints (runs/light_checkpoint.py), in the order of the list.
"""

import argparse
import io
import json
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
from tyro.conf import Positional, arg

sys.path.insert(0, str(Path(__file__).parent))
from light_checkpoint import write_light

from textok.cli.parsing import run as run_words
from textok.models.tokenizer import TexTok
from textok.recipes import RECIPES
from textok.training.run_folder import RunFolder
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.train import train_tokenizer

MEASURED = 120  # steps whose last line of the log says the speed
RESERVE = 0.12  # of the time, for the last validation and the export
GRACE = 40  # seconds that stopping runs get to save
RECORDS = ("run.json", "metrics.jsonl", "bad.jsonl", "log.txt", "grids")


# --- one run ------------------------------------------------------------------------------------------------


def train_one(
    recipe: Annotated[Positional[str], arg(metavar="RECIPE")],
    run: Annotated[TokenizerRun, arg(name="")],
    *,
    out: Path,
    pictures: int,
    until: float,
) -> None:
    """Train so many pictures, or (0) as many as there is time for until a moment in seconds since 1970."""
    start = time.time()
    steps = (
        pictures // run.batch_size or planned_steps(out) or steps_until(run, out, start=start, until=until)
    )
    warmup = min(run.optimizer.warmup_steps, max(1, steps // 10))
    run = replace(run, steps=steps, optimizer=replace(run.optimizer, warmup_steps=warmup))
    print(f"{recipe}: {steps} steps of {run.batch_size}", flush=True)
    train_tokenizer(run, out, extend=True)


def planned_steps(out: Path) -> int:
    """Of the run that is there; 0 for none."""
    record = out / "run.json"
    return json.loads(record.read_text())["config"]["steps"] if record.is_file() else 0


def steps_until(run: TokenizerRun, out: Path, *, start: float, until: float) -> int:
    """Train the first steps; how many there can be in all."""
    first = min(MEASURED, run.optimizer.warmup_steps)
    began = time.time()
    # Steps of words alone are cheaper than most, so they wait.
    train_tokenizer(replace(run, steps=10 * MEASURED, words_first=0.0), out, stop_at=first)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    speeds = [line["images_per_second"] for line in lines if "images_per_second" in line]
    speed = speeds[-1] if speeds else first * run.batch_size / (time.time() - began)
    left = until - time.time() - RESERVE * (until - start)
    return first + max(1, int(left * speed / run.batch_size))


# --- the list -----------------------------------------------------------------------------------------------


def read_list(file: Path) -> list[list[str]]:
    """The words of each line; blank lines and those that begin with # say nothing."""
    lines = [line.split() for line in file.read_text().splitlines()]
    return [words for words in lines if words and not words[0].startswith("#")]


def command_of(words: list[str], options: argparse.Namespace, until: float) -> list[str]:
    """The command that trains a line of the list."""
    name, recipe, seed, pictures, *rest = words
    given = ["--out", str(options.out / name), "--name", name, "--seed", seed, "--until", str(until)]
    given += ["--pictures", "0" if pictures == "rest" else pictures]
    given += ["--text-states", "online", "--data.resident", str(options.out / "resident")]
    given += ["--data.workers", str(options.workers), "--validation.every", "1000000"]
    given += ["--checkpoint-every", "1000000"]
    return [sys.executable, __file__, "one", recipe, *given, *rest]


def train_all(options: argparse.Namespace) -> None:
    """Run the commands, ``jobs`` at a time, until the list or the time is at its end."""
    until = time.time() + options.seconds
    waiting, running = read_list(options.list), dict[str, subprocess.Popen[bytes]]()
    while waiting or running:
        for name, process in list(running.items()):
            if process.poll() is not None:
                print(f"{name}: exit {process.returncode}, {until - time.time():.0f} s are left", flush=True)
                del running[name]
        if time.time() > until:
            stop_all(running)
            break
        if waiting and len(running) < options.jobs:
            words = waiting.pop(0)
            folder = options.out / words[0]
            folder.mkdir(parents=True, exist_ok=True)
            with (options.out / f"{words[0]}.log").open("ab") as log:
                command = command_of(words, options, until)
                running[words[0]] = subprocess.Popen(command, stdout=log, stderr=log)
        time.sleep(0.2)


def stop_all(running: dict[str, subprocess.Popen[bytes]]) -> None:
    """Ask the runs to save and stop; those that do not are ended."""
    for process in running.values():
        process.send_signal(signal.SIGTERM)
    end = time.time() + GRACE
    for name, process in running.items():
        try:
            process.wait(max(0.1, end - time.time()))
        except subprocess.TimeoutExpired:
            process.kill()
        print(f"{name}: stopped at the end of the time", flush=True)


# --- what comes back ----------------------------------------------------------------------------------------


def pack(options: argparse.Namespace) -> None:
    """Write the tar: records first, then weights, then checkpoints, as many as fit."""
    names, room = [words[0] for words in read_list(options.list)], options.pack_mb * 2**20
    with tarfile.open(options.pack, "w") as tar:
        for name in names:
            for record in RECORDS:
                file = options.out / name / record
                source = options.out / f"{name}.log" if record == "log.txt" else file
                if source.exists():
                    tar.add(source, f"{name}/{record}")
        for kind in (light_weights, light_run):
            for name in names:
                folder = kind(options.out / name)
                size = sum(file.stat().st_size for file in folder.rglob("*")) if folder else 0
                if folder and tar.offset + size < room:
                    tar.add(folder, f"{name}/{folder.name}")
                elif folder:
                    print(f"{name}/{folder.name}: left out, {size / 1e6:.1f} MB", flush=True)
        tar.addfile(tarfile.TarInfo("complete"), io.BytesIO())


def light_weights(run: Path) -> Path | None:
    """The exported weights in 16 bits."""
    if not (run / "weights").is_dir():
        return None
    out, made_by = run / "weights-16", json.loads((run / "weights/config.json").read_text())["made_by"]
    TexTok.from_pretrained(run / "weights").save_pretrained(
        out, name=run.name, dtype=torch.float16, made_by=made_by
    )
    return out


def light_run(run: Path) -> Path | None:
    """The folder that the run can go on from."""
    if RunFolder(run).latest() is None:
        return None
    shutil.rmtree(run / "light", ignore_errors=True)
    write_light(run, run / "light")
    return run / "light"


def main() -> None:
    """Train the list, then pack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("list", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument(
        "--jobs", type=int, default=1, help="runs side by side; small ones leave most of a GPU idle"
    )
    parser.add_argument("--workers", type=int, default=16, help="processes that decode the pictures")
    parser.add_argument("--pack", type=Path)
    parser.add_argument("--pack-mb", type=float, default=100)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    train_all(options)
    if options.pack:
        pack(options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        default = RECIPES[sys.argv[2]]()
        run_words(partial(train_one, run=default), sys.argv[2:], prog="gpu_train one")
    else:
        main()
