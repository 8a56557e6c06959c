"""A run goes on from a checkpoint that was made small enough to move."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.train import train_tokenizer

write_light = runpy.run_path(str(Path(__file__).parents[2] / "runs/light_checkpoint.py"))["write_light"]


@pytest.mark.slow
def test_a_light_checkpoint_is_a_fraction_and_goes_on_from_the_averaged_weights(
    tiny: TokenizerRun, tmp_path: Path, read_checkpoint: Callable
) -> None:
    run, moved = tmp_path / "run", tmp_path / "moved"
    train_tokenizer(tiny, run, stop_at=10)
    write_light(run, moved)
    size, light = (
        (folder / "checkpoints/step-00000010/tensors.safetensors").stat().st_size for folder in (run, moved)
    )
    assert light < 0.2 * size
    whole, small = read_checkpoint(run, 10)[0], read_checkpoint(moved, 10)[0]
    for name, value in small.items():
        torch.testing.assert_close(value, whole[name.replace("/model/", "/ema/")].to(value.dtype))
    train_tokenizer(tiny, moved)
    assert json.loads((moved / "weights/config.json").read_text())["made_by"]["step"] == 12
    write_light(moved, tmp_path / "again")


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkpoint"):
        write_light(tmp_path, tmp_path / "out")
