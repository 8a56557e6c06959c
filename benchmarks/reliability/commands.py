"""The commands that write, at toy size, and what must come out of each."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image

from benchmarks.reliability.processes import Outcome, run
from textok.cli.table import COMMANDS
from textok.models.bottleneck import KLConfig
from textok.models.tokenizer import TexTok, TexTokConfig

CAPTIONS = ("a red square", "two blue circles on the left", "", "a green field under a yellow sky")
PICTURES = 24
_TIMES = re.compile(
    r"seconds|per_second|time|environment|made_by|command|hardware|libraries|^(data|same|fingerprint)$"
)
"""Also the fast identity of data, which holds times: a picture that was put back has others."""
_NO_CONTENT = re.compile(r"(^|/)(tensorboard/|\.textok$)")
"""Event files hold times and the process in their names."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command that writes.

    Attributes:
        name: in reports.
        words: of the command line; it runs in a folder beside the inputs.
        out: what it writes, relative to that folder.
    """

    name: str
    words: tuple[str, ...]
    out: str

    @property
    def is_slow(self) -> bool:
        """Whether it takes some seconds even at toy size, and is struck less often for that."""
        return self.name in ("train tokenizer", "scenes", "reconstruct")


def commands() -> list[Command]:
    """Every command that writes, with the inputs of :func:`make_inputs`."""
    model, pictures = ("--model", "../in/model"), "../in/pictures"
    toy = "--data.source ../in/pictures --name m --log-every 2 --checkpoint-every 2 --batch-size 8 --micro-batch 8"
    toy += " --steps 6 --validation.every 3 --validation.count 8"
    dit = "--latents ../in/latents --log-every 2 --checkpoint-every 2 --batch-size 8 --steps 6 --preview.every 3"
    rows: list[tuple[str, Sequence[str], str]] = [
        ("encode .safetensors", ("encode", pictures, *model, "--batch-size", "4"), "t.safetensors"),
        ("encode .ttk", ("encode", pictures, *model, "--batch-size", "4"), "t.ttk"),
        ("decode", ("decode", "../in/t.safetensors", *model, "--batch-size", "1"), "back"),
        ("reconstruct", ("reconstruct", pictures, *model, "--budgets", "1,4", "--batch-size", "4"), "grids"),
        ("generate", ("generate", "a red apple", "--model", "../in/generator", "--steps", "2"), "drawn"),
        ("cache", ("cache", *model, "--data", pictures, "--shard-pictures", "6"), "latents"),
        ("train tokenizer", ("train", "tokenizer", "toy", *toy.split()), "run"),
        ("train generator", ("train", "generator", "toy-dit", *dit.split()), "run"),
        (
            "evaluate reconstruction",
            ("evaluate", "reconstruction", *model, "--data", pictures, "--no-semantics", "--budgets", "4"),
            "scores.json",
        ),
        ("scenes", ("scenes", "--count", "12", "--size", "64"), "scenes"),
        ("caption", ("caption", pictures, "--writer", "alt-text"), "captions"),
    ]
    return [Command(name=name, words=(*words, "--out", out), out=out) for name, words, out in rows]


def worker_commands() -> list[Command]:
    """The trainings that read their pictures in other processes: as they come, and all of them first."""
    train = next(one for one in commands() if one.name == "train tokenizer")
    words = (*train.words, "--data.workers", "2", "--data.keep-decoded-mb", "0")
    resident = (*words, "--data.resident", "decoded")
    pairs = (("train tokenizer, 2 workers", words), ("train tokenizer, decoded first", resident))
    return [Command(name=name, words=own, out=train.out) for name, own in pairs]


def import_all() -> None:
    """Import every command, so that forked children need not."""
    torch.set_num_threads(1)
    for command in COMMANDS.values():
        import_module(f"textok.cli.{command.module}")
    for name in ("accelerate", "tyro", "constriction", "textok.cli.parsing", "torch.utils.tensorboard"):
        import_module(name)


def make_inputs(folder: Path) -> None:
    """Pictures, a tiny tokenizer, its tokens and latents, and a tiny generator, below ``in``; imports everything.

    Commands run in folders beside ``in``.
    """
    import_all()
    inputs = folder / "in"
    write_pictures(inputs / "pictures", PICTURES)
    tiny_model().save_pretrained(inputs / "model", name="tiny", made_by={"recipe": "none", "steps": 0})
    for name, out in (
        ("encode .safetensors", "t.safetensors"),
        ("cache", "latents"),
        ("train generator", "run"),
    ):
        command = next(one for one in commands() if one.name == name)
        outcome = run(command.words, folder=_new(folder / "make"))
        if outcome.code:
            raise RuntimeError(f"{name}: {outcome.err}")
        target = inputs / ("generator" if out == "run" else out)
        os.replace(folder / "make" / command.out / ("weights" if out == "run" else ""), target)


def tiny_model() -> TexTok:
    """32 x 32 pixels, four tokens of four numbers, seeded."""
    torch.manual_seed(0)
    sizes = {
        "image_size": 32,
        "patch_size": 8,
        "dim": 32,
        "encoder_depth": 1,
        "decoder_depth": 1,
        "num_heads": 2,
    }
    return TexTok(TexTokConfig(**sizes, num_latents=4, bottleneck=KLConfig(latent_dim=4))).eval()


def write_pictures(folder: Path, count: int, *, side: int = 40) -> None:
    """Noisy pictures with captions in metadata.jsonl."""
    draws, lines = np.random.default_rng(0), []
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = draws.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05d}.png")
        line = {"file_name": f"{number:05d}.png", "text": CAPTIONS[number % len(CAPTIONS)]}
        lines.append(json.dumps(line))
    (folder / "metadata.jsonl").write_text("\n".join(lines))


# --- what came out ------------------------------------------------------------------------------------------


class Workplace:
    """A folder in which one command runs, beside files of the user's.

    Args:
        root: holds ``in``.
        command: what runs.
    """

    def __init__(self, root: Path, command: Command) -> None:
        self.root, self.command = root, command
        self.folder = root / "work"
        self.inputs = digests(root / "in")
        self.clear()
        self.whole = self.run()
        if self.whole.code or "Traceback" in self.whole.err:
            raise RuntimeError(f"{command.name}: undisturbed it ended in {self.whole.code}: {self.whole.err}")
        self.reference = digests(self.folder)

    def clear(self) -> None:
        """An empty folder with what the user has there."""
        _new(self.folder)
        for name in ("neighbour.txt", f"{self.command.out}.old"):
            (self.folder / name).write_text("of the user")

    def run(self, **options: Any) -> Outcome:
        """Run the command."""
        return run(self.command.words, folder=self.folder, **options)

    def differences(self) -> list[str]:
        """Files that are not as the undisturbed command leaves them, or inputs that changed; [] is what must be."""
        now, inputs = digests(self.folder), digests(self.root / "in")
        wrong = [f"in/{name}" for name in _unlike(self.inputs, inputs)]
        return wrong + _unlike(self.reference, now)

    def debris(self) -> list[str]:
        """Temporary files and locks, which only a process that was killed may leave."""
        names = (path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*"))
        return [name for name in names if name.endswith((".tmp", ".lock"))]

    def damage(self) -> list[str]:
        """Files of the user's that changed."""
        names = ("neighbour.txt", f"{self.command.out}.old")
        now, before = digests(self.folder), self.reference
        return [name for name in names if now.get(name) != before[name]] + [
            f"in/{name}" for name in _unlike(self.inputs, digests(self.root / "in"))
        ]


def digests(folder: Path) -> dict[str, str]:
    """A hash of each file: of JSON without its times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            continue
        if _NO_CONTENT.search(name):
            found[re.sub(r"events\..*", "events", name)] = "there"
        else:
            found[name] = hashlib.sha256(_timeless(path)).hexdigest()
    return found


def _timeless(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".parquet":
        return repr(_without_times(pq.read_table(path).to_pylist())).encode()
    if path.suffix not in (".json", ".jsonl"):
        return content
    lines = [content] if path.suffix == ".json" else content.splitlines()
    try:
        return json.dumps([_without_times(json.loads(line)) for line in lines], sort_keys=True).encode()
    except ValueError:  # a line that was cut off
        return content


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(inner) for name, inner in value.items() if not _TIMES.search(name)}
    return [_without_times(inner) for inner in value] if isinstance(value, list) else value


def _unlike(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return [
        f"{name} ({'missing' if name not in other else 'extra' if name not in one else 'other content'})"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]


def _new(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)  # a mounted disk stays
    return folder
