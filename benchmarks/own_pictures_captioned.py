"""A folder of 1,000 pictures without words, captioned and encoded by the two commands of README, without a network.

    python benchmarks/own_pictures_captioned.py                # some minutes on an otherwise idle machine
    python benchmarks/own_pictures_captioned.py --count 8      # a rehearsal

The pictures are JPEG files of 1600 px, each a different part of one of the photographs, in folders, named as by a
camera. Where the system allows it (unshare), the commands run where there is no network; else proxies lead nowhere.
"""

import argparse
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from textok.captioning.journal import CAPTIONS, read_rows
from textok.codec import TtkReader
from textok.data import open_source
from textok.evaluation.results import Row, write_result
from textok.training.run_folder import environment

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "own_pictures.json"
SIDE, PARTS = 1600, 5
"""Pixels of a written side, and different parts taken of one photograph."""
ALONE = ["unshare", "--net", "--map-root-user"]
NOWHERE = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")


def typed() -> list[str]:
    """The commands as README has them, in their order."""
    readme = (ROOT / "README.md").read_text()
    lines = re.findall(r"^(textok (?:caption|encode) my-pictures[^#\n]*)", readme, re.MULTILINE)
    return [line.strip() for line in lines]


def write_pictures(folder: Path, count: int) -> None:
    """So many JPEG files, the first parts of all photographs before the second ones."""
    source = open_source(ROOT / "datasets" / "photos-256")
    if count > PARTS * len(source):
        raise SystemExit(f"count: got {count}, expected at most {PARTS * len(source)}")
    for number in range(count):
        part, index = divmod(number, len(source))
        stored = source.read(index).image
        assert isinstance(stored, bytes), "photographs are stored"
        with Image.open(io.BytesIO(stored)) as image:
            left, top, side = 0.05 * part * image.width, 0.05 * part * image.height, 0.8
            box = (left, top, left + side * image.width, top + side * image.height)
            picture = image.convert("RGB").resize((SIDE, SIDE * image.height // image.width), box=box)
        file = folder / f"{100 + number // 250}CAMERA" / f"IMG_{number:04d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.save(file, quality=88)


def run(command: str, folder: Path, *, alone: list[str]) -> Row:
    """Run a command in the folder; seconds and memory of its process."""
    words = [*alone, sys.executable, "-m", "textok.cli", *shlex.split(command)[1:]]
    variables = os.environ | {"TQDM_DISABLE": "1", **({} if alone else NOWHERE)}
    began = time.perf_counter()
    process = subprocess.Popen(words, cwd=folder, env=variables)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"{command}: ended with {process.returncode}")
    seconds = time.perf_counter() - began
    return {"command": command, "seconds": round(seconds, 1), "megabytes": round(used.ru_maxrss / 1024)}


def main() -> None:
    """Write the pictures, run, count, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    has = shutil.which(ALONE[0]) and not subprocess.run([*ALONE, "true"], check=False).returncode
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder / "my-pictures", options.count)
        rows = [run(command, folder, alone=ALONE if has else []) for command in typed()]
        captions = [row["caption"] for row in read_rows(folder / "my-captions" / CAPTIONS)]
        file = folder / shlex.split(typed()[1])[-1]
        with TtkReader(file) as reader:
            pictures = reader.facts()["pictures"]
        rows[0] |= {"captions": len(captions), "words": sum(len(c.split()) for c in captions) / len(captions)}
        rows[1] |= {"pictures": pictures, "bytes_per_picture": file.stat().st_size / pictures}
    if not len(captions) == pictures == options.count:
        raise SystemExit(f"got {len(captions)} captions and {pictures} tokens, expected {options.count} each")
    network = "none, by unshare" if has else "proxies that lead nowhere"
    settings = {"pictures": options.count, "side": SIDE, "network": network}
    write_result(options.out, settings=settings, rows=rows, made_by=environment())
    print(rows)


if __name__ == "__main__":
    main()
