"""Two processes under torchrun train one model: replicas equal, and equal to a single process."""

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from textok.models.bottleneck import AEConfig, VQConfig
from textok.objectives.adversarial import AdversarialConfig
from textok.objectives.discriminator import DiscriminatorConfig
from textok.training.parallel import PATIENCE, STEP_PATIENCE
from textok.training.run import BudgetDraw
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.train import train_tokenizer

WORKER = Path(__file__).with_name("two_ranks.py")


@pytest.fixture(scope="module")
def plain(tiny: TokenizerRun) -> TokenizerRun:
    """Without any random draw a step, so that the ranks' gradients average to that of the whole batch."""
    return replace(
        tiny,
        name="plain",
        model=replace(tiny.model, bottleneck=AEConfig()),
        optimizer=replace(tiny.optimizer, kind="adamw"),  # Muon multiplies in bfloat16
        budgets=BudgetDraw(kind="fixed"),
        caption_dropout=0.0,
        steps=4,
        log_every=1,
        validation=replace(tiny.validation, count=15, budgets=(4,)),  # the ranks get 8 and 7
    )


@pytest.fixture(scope="module")
def gan(tiny: TokenizerRun, tmp_path_factory: pytest.TempPathFactory) -> TokenizerRun:
    """With a codebook, a discriminator, every random draw, several micro-batches and a cold caption cache."""
    return replace(
        tiny,
        name="gan",
        model=replace(tiny.model, bottleneck=VQConfig(codebook_size=32, revive_below=0.9, usage_decay=0.5)),
        adversarial=AdversarialConfig(start_step=0, discriminator_warmup_steps=1, r1_every=2),
        discriminator=DiscriminatorConfig(base=8, multipliers=(1.0, 1.0), stem_stride=2),
        text_cache=str(tmp_path_factory.mktemp("cold")),
        micro_batch=3,
        steps=4,
        validation=replace(tiny.validation, count=2, budgets=(1,)),
    )


@pytest.fixture(scope="module")
def trained(plain: TokenizerRun, gan: TokenizerRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders of both runs, trained by two processes."""
    out = tmp_path_factory.mktemp("ranks")
    (out / "runs.pkl").write_bytes(pickle.dumps([plain, gan]))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", port]
    command = [*torchrun, str(WORKER), str(out / "runs.pkl"), str(out)]
    paths = [str(WORKER.parents[1]), os.environ.get("PYTHONPATH", "")]  # of tiny.py
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


def notes(run: Path, step: int, *, when: str = "step") -> list[dict]:
    return [json.loads((run / f"rank-{rank}-{when}-{step}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("name", ["plain", "gan"])
def test_replicas_stay_equal(name: str, trained: Path) -> None:
    for step in (2, 4):
        first, second = notes(trained / name, step)
        assert first["replica"] == second["replica"]
    assert notes(trained / name, 2) != notes(trained / name, 4)


def test_each_rank_goes_on_with_its_own_means(trained: Path) -> None:
    saved, resumed = notes(trained / "gan", 2), notes(trained / "gan", 2, when="resumed")
    assert [note["means"] for note in resumed] == [note["means"] for note in saved]
    assert saved[0]["means"]["loss/pixels"] != saved[1]["means"]["loss/pixels"] > 0


def test_ranks_wait_minutes_in_a_step_and_hours_for_captions(trained: Path) -> None:
    for note in notes(trained / "plain", 0, when="resumed"):
        step, long = note["patience"]
        assert step == STEP_PATIENCE.total_seconds() < 3600 < PATIENCE.total_seconds() == long


def test_one_rank_goes_on_where_two_were(
    trained: Path,
    plain: TokenizerRun,
    tmp_path: Path,
    read_checkpoint: Callable,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = shutil.copytree(trained / "plain", tmp_path / "run")
    shutil.rmtree(run / "checkpoints/step-00000004")
    train_tokenizer(plain, run)
    assert "ranks was 2, is 1" in capsys.readouterr().err
    (ours, _), (theirs, _) = read_checkpoint(run, 4), read_checkpoint(trained / "plain", 4)
    for name, value in ours.items():
        if name.startswith("state/model"):
            torch.testing.assert_close(theirs[name], value, atol=1e-4, rtol=1e-3, msg=name)


def test_two_ranks_are_one_larger_batch(
    trained: Path, plain: TokenizerRun, tmp_path: Path, read_checkpoint: Callable, read_metrics: Callable
) -> None:
    train_tokenizer(plain, tmp_path)
    (ours, _), (theirs, _) = read_checkpoint(tmp_path, 4), read_checkpoint(trained / "plain", 4)
    for name, value in ours.items():
        if name.startswith("state/model"):
            torch.testing.assert_close(theirs[name], value, atol=1e-4, rtol=1e-3, msg=name)
    for mine, other in zip(read_metrics(tmp_path), read_metrics(trained / "plain"), strict=True):
        assert mine.keys() == other.keys()
        assert other == pytest.approx(mine, rel=2e-2, abs=2e-3)


def test_validation_counts_every_picture_once(trained: Path, plain: TokenizerRun) -> None:
    lines = [json.loads(line) for line in (trained / "plain/metrics.jsonl").read_text().splitlines()]
    (scored,) = [line for line in lines if "val/right/4/psnr" in line]
    assert scored["step"] == 4
    assert (trained / "plain/weights/model.safetensors").is_file()
    assert (trained / "plain/best/model.safetensors").is_file()


def test_trouble_of_one_rank_is_skipped_by_both(trained: Path) -> None:
    assert [note["skipped"] for note in notes(trained / "gan", 2)] == [1, 1]
    lines = [json.loads(line) for line in (trained / "gan/skipped.jsonl").read_text().splitlines()]
    assert sorted((line["step"], line["rank"]) for line in lines) == [(2, 0), (2, 1)]
    keys = [key for line in lines for key in line["keys"]]
    assert len(set(keys)) == 8  # each rank had pictures of its own


def test_bad_weights_never_got_in(trained: Path, read_checkpoint: Callable) -> None:
    tensors, _ = read_checkpoint(trained / "gan", 4)
    assert all(value.isfinite().all() for value in tensors.values())
    facts = json.loads((trained / "gan/run.json").read_text())["facts"]
    assert facts["ranks"] == 2
