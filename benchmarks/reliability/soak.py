"""Many pictures through ``textok encode`` and ``textok decode``: memory must not grow, and none may go missing."""

import io
import json
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.reliability.commands import CAPTIONS
from benchmarks.reliability.processes import Child
from textok.pipeline.tokens import load_tokens

_EVERY = 0.2  # seconds between two looks at a process


def write_tar(path: Path, count: int) -> None:
    """A tar of flat pictures, each of its own colour, with captions."""
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            stream = io.BytesIO()
            colour = (number >> 16, number >> 8 & 255, number & 255)
            Image.fromarray(np.full((32, 32, 3), colour, np.uint8)).save(stream, "png")
            record = json.dumps({"caption": CAPTIONS[number % len(CAPTIONS)]}).encode()
            for suffix, content in (("png", stream.getvalue()), ("json", record)):
                info = tarfile.TarInfo(f"{number:07d}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def soak(root: Path, *, count: int) -> list[dict[str, Any]]:
    """A row for each command: memory of its first and last tenth, and how many pictures came out of how many."""
    source, folder = root / "in" / "soak.tar", root / "soak"
    folder.mkdir()
    write_tar(source, count)
    model = ("--model", "../in/model", "--dtype", "float32")
    encode = ("encode", "../in/soak.tar", *model, "--batch-size", "64", "--out", "t.safetensors")
    decode = ("decode", "t.safetensors", *model, "--batch-size", "64", "--out", "back")
    return [
        _watched(
            "encode", encode, folder, ".*/*.json", lambda: len(load_tokens(folder / "t.safetensors")), count
        ),
        _watched("decode", decode, folder, "back/*.png", lambda: len(list(folder.glob("back/*.png"))), count),
    ]


def _watched(
    name: str, words: tuple[str, ...], folder: Path, pattern: str, census: Callable[[], int], count: int
) -> dict[str, Any]:
    child, values = Child(words, folder=folder, patience=3600), list[int]()
    watcher = threading.Thread(target=_watch, args=(child.pid, values, lambda: any(folder.glob(pattern))))
    watcher.start()
    outcome = child.wait()
    watcher.join()
    tenth = max(1, len(values) // 10)
    ends = values[:tenth], values[-tenth:]
    first, last = (float(np.median(part) / 1024) for part in ends)
    row = {"command": name, "pictures": count, "out": census() if not outcome.code else outcome.told}
    row |= {
        "first_tenth_mib": round(first, 1),
        "last_tenth_mib": round(last, 1),
        "growth": round(last / first - 1, 4),
    }
    return row | {"highest_mib": round(max(values) / 1024, 1), "seconds": round(outcome.seconds, 1)}


def _watch(pid: int, values: list[int], begun: Callable[[], bool]) -> None:
    """RssAnon in KiB from when the first pictures are done until the process ends."""
    while True:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            return
        anonymous = [line.split()[1] for line in lines if line.startswith("RssAnon")]
        if not anonymous:  # it has ended, and nobody has waited for it yet
            return
        if values or begun():
            values.append(int(anonymous[0]))
        time.sleep(_EVERY)
