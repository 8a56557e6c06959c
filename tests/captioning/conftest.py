"""Pictures without words, and a server that misbehaves."""

import contextlib
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from textok.cli import main

SERVER = Path(__file__).with_name("hostile_server.py")


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[[int], Path]:
    """A folder of so many small pictures, all different."""

    def make(count: int, folder: str = "pictures") -> Path:
        (tmp_path / folder).mkdir()
        for number in range(count):
            pixels = random.Random(number).randbytes(24 * 16 * 3)
            Image.frombytes("RGB", (24, 16), pixels).save(tmp_path / folder / f"{number:04d}.png")
        return tmp_path / folder

    return make


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start a server with these options and give back its base URL; all are stopped at the end."""
    with contextlib.ExitStack() as stack:

        def start(*options: str) -> str:
            command = [sys.executable, str(SERVER), *options]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            assert process.stdout is not None
            return f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"

        yield start


@pytest.fixture
def caption(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run ``textok caption SOURCE --out OUT`` with more options: exit code, stdout, stderr."""

    def run(source: Path, *options: str, out: str = "out") -> tuple[int, str, str]:
        code = main(["caption", str(source), "--out", str(tmp_path / out), *options])
        return code, *capsys.readouterr()

    return run
