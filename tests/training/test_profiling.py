"""``--profile`` records some steps, and changes nothing of the training."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from textok.training.rehearsal import profiled
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.train import train_tokenizer


@pytest.mark.slow
def test_the_steps_are_recorded_and_the_training_is_the_same(
    tiny: TokenizerRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = replace(tiny, steps=6)
    plain = train_tokenizer(run, tmp_path / "plain")
    with profiled(tmp_path / "run" / "profile", steps=2):
        recorded = train_tokenizer(run, tmp_path / "run")
    weights = [load_file(folder / "model.safetensors") for folder in (plain, recorded)]
    assert all(bool((weights[0][name] == tensor).all()) for name, tensor in weights[1].items())
    events = json.loads((tmp_path / "run" / "profile" / "rank-0.json").read_text())["traceEvents"]
    steps = {event["name"] for event in events if event.get("name", "").startswith("ProfilerStep")}
    assert steps == {"ProfilerStep#3", "ProfilerStep#4"}
    assert "aten::addmm" in (tmp_path / "run" / "profile" / "rank-0.txt").read_text()
    assert "rank-0.json" in capsys.readouterr().err


def test_a_training_that_is_too_short_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with profiled(tmp_path / "profile", steps=2):
        pass
    assert "profile: " in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_no_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="profile: got 0"), profiled(tmp_path, steps=0):
        pass
