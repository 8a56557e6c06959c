"""The benchmark of the evaluation runs, adds up and finds that merged ranks equal the whole."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from textok.models.tokenizer import TexTok, TexTokConfig

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "evaluation_speed.py"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A tiny model and a few captioned pictures."""
    torch.manual_seed(0)
    depth = {"encoder_depth": 1, "decoder_depth": 1}
    config = TexTokConfig(image_size=32, patch_size=8, dim=32, num_heads=2, num_latents=4, **depth)
    TexTok(config).save_pretrained(tmp_path / "model", name="tiny")
    generator, lines = np.random.default_rng(0), []
    (tmp_path / "pictures").mkdir()
    for i in range(20):
        pixels = np.kron(generator.integers(0, 256, (4, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{i:02d}.png")
        lines.append(json.dumps({"file_name": f"{i:02d}.png", "text": f"{i % 7} squares"}))
    (tmp_path / "pictures" / "metadata.jsonl").write_text("\n".join(lines))
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
    assert max(checks["two_halves_relative_differences"].values()) < 1e-9
    assert checks["two_ranks_relative_differences"]["psnr"] < 1e-3
    assert checks["frechet_from_vectors_against_sums"]["relative_difference"] < 1e-3
