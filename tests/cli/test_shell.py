"""The command in odd places: terminals, locales, homes, users who are impatient, workers that die."""

import fcntl
import os
import pty
import random
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest

from textok.cli import main

pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-m", "textok.cli"]
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def start(*words: object, folder: Path, **options: object) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*COMMAND, *map(str, words)], cwd=folder, **pipes | options)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_a_terminal_that_has_ascii_alone_and_hostile_names(
    model_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    names = ["a\nb.png", "c\x1b[31md.png", "e é.png"]
    (tmp_path / "odd").mkdir()
    for name in names:
        shutil.copy(pictures / "square-1.png", tmp_path / "odd" / name)
    (tmp_path / "odd" / "e é.txt").write_text("cap\x1b]0;x\x07tion 猫", encoding="utf-8")
    (tmp_path / "odd" / "bad\x1b[2J.png").write_bytes(b"none")
    words = [
        "encode",
        "odd",
        "--model",
        model_folder,
        "--on-bad",
        "skip",
        "--out",
        "é.safetensors",
    ]
    code, out, err = finish(start(*words, folder=tmp_path, env=os.environ | ASCII))
    assert code == 0, err
    assert "3 pictures" in out and "\x1b[" not in out + err and "\\x1b[2J" in err
    code, out, err = finish(
        start("decode", "é.safetensors", "--model", model_folder, "--out", "back", folder=tmp_path)
    )
    assert code == 0, err
    assert sorted(path.name for path in (tmp_path / "back").glob("*.png")) == [
        "a_b.png",
        "c_31md.png",
        "e_é.png",
    ]


def test_a_terminal_of_twenty_columns_shows_the_same_result(
    model_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 20, 0, 0))
    words = ["encode", pictures, "--model", model_folder, "--batch-size", 1, "--out"]
    narrow = start(*words, "narrow.safetensors", folder=tmp_path, stdout=theirs, stderr=theirs)
    assert narrow.wait(timeout=60) == 0
    assert b"4 pictures" in os.read(ours, 1 << 16)
    os.close(ours), os.close(theirs)
    assert finish(start(*words, "wide.safetensors", folder=tmp_path))[0] == 0
    assert (tmp_path / "narrow.safetensors").read_bytes() == (tmp_path / "wide.safetensors").read_bytes()
    code, out, _ = finish(start("encode", "--help", folder=tmp_path, env=os.environ | {"COLUMNS": "20"}))
    assert code == 0 and "--overwrite" in out


def test_a_home_that_is_missing_or_read_only_is_no_hindrance(
    model_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    words = ["cache", "--data", pictures, "--model", model_folder, "--out"]
    bare = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    for number, home in enumerate(({}, {"HOME": "/proc/nobody"})):
        code, _, err = finish(start(*words, f"c{number}", folder=tmp_path, env=bare | home))
        assert code == 0, err


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_impatient_interrupts_show_no_traceback(
    seed: int, model_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    draws, own = random.Random(seed), tmp_path / "own"
    own.mkdir()
    for number in range(300):
        (own / f"{number}.png").hardlink_to(pictures / "square-1.png")
    words = ["encode", own, "--model", model_folder, "--batch-size", 1, "--out", "x.safetensors"]
    process = start(*words, folder=tmp_path)
    while process.stderr.read(1) != "%":  # the bar is there
        pass
    for _ in range(2):
        time.sleep(draws.uniform(0, 0.3))
        process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code in (0, 130) and "Traceback" not in err and "Exception" not in err


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
    ],
)
def test_too_little_memory_and_dead_workers_are_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("textok.cli._run", fail)
    assert main(["info"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    error.args = ("a bug",)
    if isinstance(error, RuntimeError):
        with pytest.raises(RuntimeError, match="a bug"):
            main(["info"])


def test_an_interrupt_that_became_an_error_stays_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As torch does with one that meets it inside a call."""

    def run(_words: list[str]) -> None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise ValueError("could not determine the shape")

    monkeypatch.setattr("textok.cli._run", run)
    assert main([]) == 130
    assert capsys.readouterr().err == "textok: interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
