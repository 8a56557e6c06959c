"""A run that takes as many steps as there is time for (runs/gpu_train.py)."""

import json
import runpy
import time
from dataclasses import replace
from pathlib import Path

import pytest

from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.train import train_tokenizer

ROOT = Path(__file__).parents[2]
GPU_TRAIN = runpy.run_path(str(ROOT / "runs/gpu_train.py"))


@pytest.mark.slow
def test_the_speed_of_the_first_steps_decides_how_many_follow(tiny: TokenizerRun, tmp_path: Path) -> None:
    start = time.time()
    steps = GPU_TRAIN["steps_until"](tiny, tmp_path / "run", start=start, until=start + 1000)
    more = GPU_TRAIN["steps_until"](tiny, tmp_path / "longer", start=start, until=start + 10_000)
    assert tiny.optimizer.warmup_steps < steps < more
    assert (tmp_path / "run/checkpoints/step-00000005").is_dir()


@pytest.mark.slow
def test_steps_of_words_alone_do_not_decide_the_speed(tiny: TokenizerRun, tmp_path: Path) -> None:
    run, out, now = replace(tiny, words_first=0.9), tmp_path / "run", time.time()
    GPU_TRAIN["steps_until"](run, out, start=now, until=now + 1000)
    record = out / "run.json"
    assert json.loads(record.read_text())["config"]["words_first"] == 0
    train_tokenizer(replace(run, steps=tiny.optimizer.warmup_steps + 1), out, extend=True)
    assert json.loads(record.read_text())["config"]["words_first"] == 0.9


@pytest.mark.parametrize("name", ["gpu_default", "gpu_study"])
def test_the_lists_name_recipes(name: str) -> None:
    lines = GPU_TRAIN["read_list"](ROOT / f"runs/{name}.txt")
    assert lines and all(recipe in GPU_TRAIN["RECIPES"] for _, recipe, *_ in lines)
    assert len({words[0] for words in lines}) == len(lines)
