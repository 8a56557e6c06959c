"""The benchmark of the evaluation runs, adds up and finds that merged ranks equal the whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tiny import tiny_model, write_pictures

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "evaluation_speed.py"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A tiny model and a few captioned pictures."""
    tiny_model().save_pretrained(tmp_path / "model", name="tiny")
    write_pictures(tmp_path / "pictures", [f"{i % 7} squares" for i in range(20)], side=32)
    return tmp_path / "model", tmp_path / "pictures"


@pytest.mark.timeout(500)
@pytest.mark.slow
def test_a_few_pictures(folders: tuple[Path, Path], tmp_path: Path) -> None:
    model, pictures = folders
    words = ["--model", model, "--data", pictures, "--split", "", "--limit", 18, "--budget", 4, "--batch", 4]
    words += ["--rounds", 1, "--out", tmp_path / "speed.json"]
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=450)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "speed.json").read_text())
    whole, *parts = found["rows"]
    assert whole["work"] == "whole" and found["settings"]["count"] == 18
    assert {"tokenizer, encode", "tokenizer, decode", "text encoder", "kernel distance", "rest"} <= {
        row["work"] for row in parts
    }
    assert sum(row["seconds"] for row in parts) == pytest.approx(whole["seconds"])
    assert all(row["seconds"] > 0 for row in parts)
    checks = found["checks"]
    assert checks["two_ranks_relative_differences"]["psnr"] < 1e-3
    assert checks["frechet_from_vectors_against_sums"]["relative_difference"] < 1e-3
