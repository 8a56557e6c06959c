"""Whole trainings on the device: every phase, stop and resume, pictures and captions held there, torchrun."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from textok.data import DataConfig, TrainLoader
from textok.models.bottleneck import VQConfig
from textok.objectives.adversarial import AdversarialConfig
from textok.objectives.discriminator import DiscriminatorConfig
from textok.recipes.tokenizers import toy
from textok.training.tokenizer.config import TokenizerRun, ValidationConfig
from textok.training.tokenizer.train import train_tokenizer


@pytest.fixture
def run(tmp_path: Path) -> TokenizerRun:
    data = DataConfig(source="icons", split="val", size=(32, 32), resident=str(tmp_path / "resident"))
    validation = ValidationConfig(source="icons", count=8, every=100, budgets=(8,), pictures=2)
    return replace(toy(), data=data, text_states="online", steps=6, validation=validation, log_every=1)


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def without_last_validation(run: TokenizerRun, folder: Path, *, steps: int) -> None:
    """The scores' network may not be there; its own run has it."""
    train_tokenizer(replace(run, steps=steps + 1), folder, stop_at=steps)


def test_a_training_stops_resumes_and_goes_the_same_way(run: TokenizerRun, tmp_path: Path) -> None:
    without_last_validation(run, tmp_path / "whole", steps=6)
    train_tokenizer(replace(run, steps=7), tmp_path / "halves", stop_at=3)
    without_last_validation(run, tmp_path / "halves", steps=6)
    whole, halves = (log(tmp_path / name)[-1]["loss/pixels"] for name in ("whole", "halves"))
    assert halves == pytest.approx(whole, rel=0.02)


def test_every_phase_of_a_gan_runs(run: TokenizerRun, tmp_path: Path) -> None:
    gan = replace(
        run,
        model=replace(run.model, bottleneck=VQConfig(codebook_size=32, revive_below=0.9)),
        adversarial=AdversarialConfig(start_step=1, discriminator_warmup_steps=1, r1_every=2, adaptive=True),
        discriminator=DiscriminatorConfig(base=8, multipliers=(1.0, 1.0), stem_stride=2),
        loss=replace(run.loss, perceptual=0.1),
    )
    without_last_validation(gan, tmp_path / "gan", steps=5)
    last = log(tmp_path / "gan")[-1]
    assert last["skipped_steps"] == 0 and {"loss/adversarial", "loss/discriminator"} <= last.keys()


def test_held_pictures_are_those_that_are_decoded(run: TokenizerRun, device: torch.device) -> None:
    held, plain = (TrainLoader(run.data, batch_size=16) for _ in range(2))
    held.hold(device)
    for _ in range(3):
        ours, theirs = next(held), next(plain)
        assert ours.images.device.type == device.type and torch.equal(ours.images.cpu(), theirs.images)
        assert ours.captions == theirs.captions


def cli(folder: Path, *words: str, ranks: bool) -> float:
    """The loss of the first step of a toy training in a process of its own, which knows no run-time types."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"] if ranks else []
    train = ["-m", "textok.cli", "train", "tokenizer", "toy", "--out", str(folder), "--text-states", "online"]
    settings = ["--steps", "1", "--log-every", "1", "--validation.every", "100", "--validation.count", "2"]
    command = [sys.executable, *launcher, *train, *settings, *words]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=dict(os.environ), timeout=200
    )
    assert (folder / "metrics.jsonl").is_file(), done.stderr[-3000:]
    return log(folder)[0]["loss/pixels"]


def test_one_rank_under_torchrun_and_compiled_blocks_train_alike(
    tmp_path: Path, device: torch.device
) -> None:
    compiled = ["--compile"] if device.type == "cuda" else []
    one_rank, alone = cli(tmp_path / "rank", ranks=True), cli(tmp_path / "alone", *compiled, ranks=False)
    assert alone == pytest.approx(one_rank, rel=0.02)
