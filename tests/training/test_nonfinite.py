"""A step with a loss or gradient that is not finite changes nothing but a count and a line in a file."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from textok.models.bottleneck import VQConfig
from textok.objectives.adversarial import AdversarialConfig
from textok.objectives.discriminator import DiscriminatorConfig
from textok.objectives.reconstruction import ReconstructionObjective
from textok.training.tokenizer import setup
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.train import train_tokenizer

Break = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]


@pytest.fixture
def gan(tiny: TokenizerRun) -> TokenizerRun:
    """Everything that keeps state: codebook, discriminator, LeCam anchors, two optimizers, the average."""
    return replace(
        tiny,
        model=replace(tiny.model, bottleneck=VQConfig(codebook_size=32, revive_below=0.9, usage_decay=0.5)),
        adversarial=AdversarialConfig(start_step=0, r1_every=1),
        discriminator=DiscriminatorConfig(base=8, multipliers=(1.0, 1.0), stem_stride=2),
        checkpoint_every=1,
        log_every=1,
    )


def spoil_pictures(patch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """NaN pictures in these steps (from 0)."""
    whole = setup.micro_batches

    def spoilt(*args: Any, step: int, **kwargs: Any) -> Any:
        for part in whole(*args, step=step, **kwargs):
            yield replace(part, images=part.images * torch.nan) if step in steps else part

    patch.setattr(setup, "micro_batches", spoilt)


@pytest.mark.slow
def test_a_skipped_step_changes_no_weights(
    gan: TokenizerRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read_checkpoint: Callable,
    read_metrics: Callable,
) -> None:
    spoil_pictures(monkeypatch, {1})
    train_tokenizer(gan, tmp_path, stop_at=2)
    (before, _), (after, state) = read_checkpoint(tmp_path, 1), read_checkpoint(tmp_path, 2)
    assert before.keys() == after.keys()
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert all(name.endswith("bottleneck.usage") for name in changed)  # how often codes were chosen
    assert '["skipped", {"value": 1}]' in json.dumps(state)
    (line,) = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert line["step"] == 2 and line["rank"] == 0 and len(set(line["keys"])) == 8
    train_tokenizer(gan, tmp_path, stop_at=4)
    healthy, _ = read_checkpoint(tmp_path, 4)
    assert all(value.isfinite().all() for value in healthy.values())
    lines = read_metrics(tmp_path)
    assert [line["skipped_steps"] for line in lines] == [0, 1, 1, 1]
    assert "loss/pixels" not in lines[1] and lines[2]["loss/pixels"] > 0
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_a_loss_alone_is_noticed(
    tiny: TokenizerRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_checkpoint: Callable
) -> None:
    terms = ReconstructionObjective.forward
    stray = {"stray": torch.tensor(torch.inf)}
    monkeypatch.setattr(ReconstructionObjective, "forward", lambda *args: terms(*args) | stray)
    train_tokenizer(replace(tiny, checkpoint_every=1), tmp_path, stop_at=2)
    (one, _), (two, state) = read_checkpoint(tmp_path, 1), read_checkpoint(tmp_path, 2)
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert '["skipped", {"value": 2}]' in json.dumps(state)


def test_too_many_stop_the_run(tiny: TokenizerRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_pictures(monkeypatch, {1, 2, 4})
    with pytest.raises(FloatingPointError, match=r"step 5:"):
        train_tokenizer(replace(tiny, max_skipped_steps=2), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3, 5]
