"""The example that trains a stock GPT-2 on codes: from pictures to new pictures."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from transformers import GPT2LMHeadModel

from textok.cli import main
from textok.models.bottleneck import FSQConfig
from tiny import tiny_model

EXAMPLE = Path(__file__).parents[2] / "examples/train_gpt2_on_codes.py"


@pytest.mark.slow
def test_a_gpt2_learns_codes_and_draws_pictures(tmp_path: Path) -> None:
    model, codes, drawn = tmp_path / "model", tmp_path / "codes.parquet", tmp_path / "drawn.safetensors"
    tiny_model(FSQConfig(levels=(4, 4)), std=0.2).save_pretrained(model, name="tiny")
    (tmp_path / "set").mkdir()
    for number in range(6):
        Image.new("RGB", (32, 32), (40 * number, 90, 200)).save(tmp_path / "set" / f"{number}.png")
    encode = ["encode", tmp_path / "set", "--model", model, "--out", codes]
    assert main([str(word) for word in encode]) == 0
    words = [codes, "--out", tmp_path / "gpt2", "--samples", drawn, "--count", 3]
    words += ["--steps", 30, "--batch", 4, "--layers", 1, "--width", 32]
    found = subprocess.run(
        [sys.executable, EXAMPLE, *map(str, words)], capture_output=True, text=True, timeout=100
    )
    assert found.returncode == 0, found.stderr
    losses = [float(line.rpartition(" ")[2]) for line in found.stdout.splitlines()]
    assert losses[-1] < losses[0]
    assert GPT2LMHeadModel.from_pretrained(tmp_path / "gpt2").config.n_layer == 1
    decode = ["decode", drawn, "--model", model, "--out", tmp_path / "pictures"]
    assert main([str(word) for word in decode]) == 0
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 3
