"""The command as a user starts it: a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import textok
from textok.pipeline.tokens import load_tokens


def textok_command(
    *words: str, folder: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "textok.cli", *words]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env=os.environ | variables,
        check=False,
    )


def test_version_and_help() -> None:
    assert textok_command("--version").stdout == f"open-textok {textok.__version__}\n"
    bare = textok_command()
    assert bare.returncode == 0
    for command in ("demo", "encode", "decode", "reconstruct", "train", "info", "recipes"):
        assert f"\n  {command} " in bare.stdout
    assert "Exit codes: 0 done" in bare.stdout


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["--version"]])
def test_help_needs_no_torch_and_no_parser(words: list[str]) -> None:
    code = f"import sys, textok.cli; textok.cli.main({words!r}); sys.exit(bool({{'torch', 'tyro'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_round_trip(model_folder: Path, pictures: Path, tmp_path: Path) -> None:
    model = ["--model", str(model_folder)]
    done = textok_command("encode", str(pictures), *model, "--out", "t.safetensors", folder=tmp_path)
    assert (
        done.returncode == 0 and "4 pictures by" in done.stdout and "32.0 of them tokens each" in done.stdout
    )
    done = textok_command("decode", "t.safetensors", *model, "--out", "back", folder=tmp_path)
    assert done.returncode == 0 and done.stdout == "back: 4 pictures from t.safetensors\n"
    assert len(list((tmp_path / "back").glob("*.png"))) == 4


@pytest.mark.slow
def test_a_mistake_is_one_line_and_code_2(tmp_path: Path) -> None:
    done = textok_command("decode", "none.safetensors", "--out", "d", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "textok: error: none.safetensors: no such file\n"


@pytest.mark.slow
def test_a_reader_that_leaves_is_no_error() -> None:
    command = [sys.executable, "-m", "textok.cli", "recipes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 1


def test_public_names_load_when_asked() -> None:
    assert set(textok.__all__) <= set(dir(textok))
    for name in textok.__all__:
        assert getattr(textok, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = textok.Nothing


@pytest.mark.slow
def test_the_same_pictures_without_a_progress_bar(model_folder: Path, pictures: Path, tmp_path: Path) -> None:
    for name, disabled in (("shown", "0"), ("hidden", "1")):
        out = ["--out", f"{name}.safetensors", "--batch-size", "2"]
        words = ["encode", str(pictures), "--model", str(model_folder), "--limit", "1", *out]
        done = textok_command(*words, folder=tmp_path, TQDM_DISABLE=disabled)
        assert done.returncode == 0 and "1 pictures" in done.stdout, done.stderr
    shown, hidden = (load_tokens(tmp_path / f"{name}.safetensors") for name in ("shown", "hidden"))
    assert len(shown) == len(hidden) == 1 and torch.equal(shown.values, hidden.values)
