"""The path of a newcomer, timed on a fresh machine: clone, install, first picture, own folder encoded, app open.

    python benchmarks/newcomer.py --torch cpu    # "" where pip finds a small torch by itself
    python benchmarks/newcomer.py --environment .venv --out /tmp/rehearsal.json    # without the installation

Each step is the command of the README, typed in a new clone. pip's own cache is not read, so packages are
downloaded. The record has the seconds of each step, and those since the start of the clone.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from textok.data import EvalLoader, tensor_to_image
from textok.data.config import DataConfig
from textok.training.run_folder import environment
from textok.writing import write_json

ROOT = Path(__file__).resolve().parents[1]
PICTURES, PORT = 40, 7873
BARS = {"first picture": 180, "own folder encoded": 300, "app open": 240}


def main() -> None:
    """Walk the path, write the record, print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--torch", default="cpu", choices=["cpu", ""], help="the build of torch; empty for CUDA"
    )
    parser.add_argument(
        "--environment", type=Path, help="an installed environment, in place of the installation"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/newcomer.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = walk(Path(folder) / "open-textok", options)
    settings = {
        "torch": options.torch,
        "installed": options.environment is None,
        "pictures": PICTURES,
        "bars": BARS,
    }
    write_json(options.out, {"settings": settings, "made_by": environment(), "rows": rows})
    for row in rows:
        print(f"{row['step']:<20} {row['seconds']:7.1f} s, {row['since_start']:7.1f} s since the start")


def walk(clone: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The steps one after another; the app is opened last, and its time counts from the installation."""
    rows: list[dict[str, Any]] = []

    def step(name: str, action: Callable[[], object]) -> None:
        start = time.monotonic()
        action()
        seconds = time.monotonic() - start
        rows.append(
            {"step": name, "seconds": seconds, "since_start": seconds + sum(row["seconds"] for row in rows)}
        )

    textok = (options.environment.resolve() if options.environment else clone / ".venv") / "bin/textok"
    step("clone", lambda: run("git", "clone", "--quiet", str(ROOT), str(clone), within=clone.parent))
    if options.environment is None:
        step(
            "install",
            lambda: run(
                "make", "install", f"TORCH={options.torch}", "PIP_FLAGS=--no-cache-dir", within=clone
            ),
        )
    words = (
        "generate",
        "a glossy 3D emoji of a red apple",
        "--num-images",
        "4",
        "--seed",
        "1",
        "--out",
        "drawn",
    )
    step("first picture", lambda: run(str(textok), *words, within=clone))
    write_pictures(clone / "my-pictures")
    encode = ("encode", "my-pictures", "--num-tokens", "8", "--out", "pictures.ttk")
    step("own folder encoded", lambda: run(str(textok), *encode, within=clone))
    step("app open", lambda: open_app(str(textok), within=clone))
    return rows


def run(*words: str, within: Path) -> None:
    """One command, as typed; its output is that of a failure only."""
    done = subprocess.run(words, cwd=within, env=_plain(within), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _plain(clone: Path) -> dict[str, str]:
    """The environment without what a developer has set, and with caches that nobody has filled."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return kept | {"XDG_CACHE_HOME": str(clone.parent / "cache"), "TQDM_DISABLE": "1"}


def write_pictures(folder: Path) -> None:
    """Photographs as somebody has them: a folder of JPEG files without captions."""
    folder.mkdir()
    config = DataConfig(source=str(ROOT / "datasets/photos-256"), size=(256, 256))
    for batch in EvalLoader(config, batch_size=PICTURES):
        for key, image in zip(batch.keys, batch.images, strict=True):
            tensor_to_image(image).save(folder / f"{key}.jpg")
        return


def open_app(textok: str, *, within: Path) -> None:
    """Start the page and wait until it answers."""
    command = [textok, "app", "--port", str(PORT)]
    with subprocess.Popen(command, cwd=within, env=_plain(within), stderr=subprocess.DEVNULL) as app:
        try:
            while not _answers():
                if app.poll() is not None:
                    sys.exit(f"textok app: exit {app.returncode}")
                time.sleep(0.2)
        finally:
            app.terminate()


def _answers() -> bool:
    with suppress(URLError, ConnectionError, TimeoutError):
        return urlopen(f"http://127.0.0.1:{PORT}/", timeout=5).status == 200
    return False


if __name__ == "__main__":
    main()
