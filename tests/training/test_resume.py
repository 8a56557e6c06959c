"""A run that stops, however it stops, ends in the same bits as one that did not."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from textok.data import TrainLoader
from textok.models.bottleneck import VQConfig
from textok.objectives.adversarial import AdversarialConfig
from textok.objectives.discriminator import DiscriminatorConfig
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.train import train_tokenizer

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]  # the fixtures train
STEPS = 8
Reader = Callable[[Path, int], tuple[dict[str, torch.Tensor], dict[str, Any]]]


def break_step(patch: pytest.MonkeyPatch, wanted: int) -> None:
    """Make the loss of step ``wanted`` (from 0) NaN."""
    from textok.training.tokenizer import setup

    whole = setup.micro_batches

    def broken(*args: Any, step: int, **kwargs: Any) -> Any:
        for part in whole(*args, step=step, **kwargs):
            yield replace(part, images=part.images * torch.nan) if step == wanted else part

    patch.setattr(setup, "micro_batches", broken)


@pytest.fixture(scope="module")
def lossy(tiny: TokenizerRun) -> TokenizerRun:
    """With a torn picture, several micro-batches, captions and budgets drawn at random, kl noise, Muon."""
    return replace(tiny, data=replace(tiny.data, split="torn", on_bad="skip"), micro_batch=3)


@pytest.fixture(scope="module")
def adversarial(tiny: TokenizerRun) -> TokenizerRun:
    """With a codebook that is revived and a discriminator that starts, counts and is regularised on the way."""
    return replace(
        tiny,
        model=replace(tiny.model, bottleneck=VQConfig(codebook_size=32, revive_below=0.9, usage_decay=0.5)),
        adversarial=AdversarialConfig(start_step=1, discriminator_warmup_steps=2, r1_every=2),
        discriminator=DiscriminatorConfig(base=8, multipliers=(1.0, 1.0), stem_stride=2),
    )


@pytest.fixture(scope="module")
def straight(lossy: TokenizerRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight steps of ``lossy`` at one go; the second has a NaN."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        break_step(patch, 1)
        train_tokenizer(lossy, out, stop_at=STEPS)
    return out


def assert_same_state(read: Reader, one: Path, other: Path, step: int = STEPS) -> None:
    (tensors, state), (others, other_state) = read(one, step), read(other, step)
    assert tensors.keys() == others.keys() and state == other_state
    different = [name for name, value in tensors.items() if not torch.equal(value, others[name])]
    assert not different


def test_going_on_gives_the_same_bits(
    lossy: TokenizerRun,
    straight: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read_checkpoint: Reader,
    read_metrics: Callable,
) -> None:
    break_step(monkeypatch, 1)
    train_tokenizer(lossy, tmp_path, stop_at=4)
    train_tokenizer(lossy, tmp_path, stop_at=5)  # between two log lines
    train_tokenizer(lossy, tmp_path, stop_at=STEPS)
    assert_same_state(read_checkpoint, straight, tmp_path)
    assert read_metrics(straight) == read_metrics(tmp_path)
    assert (straight / "skipped.jsonl").read_text() == (tmp_path / "skipped.jsonl").read_text()
    assert (straight / "bad.jsonl").read_text() == (tmp_path / "bad.jsonl").read_text()


def test_a_run_goes_on_elsewhere_and_otherwise(
    lossy: TokenizerRun,
    straight: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read_checkpoint: Reader,
) -> None:
    break_step(monkeypatch, 1)
    train_tokenizer(lossy, tmp_path / "run", stop_at=4)
    shutil.copytree(lossy.data.source, tmp_path / "moved")
    data = replace(lossy.data, source=str(tmp_path / "moved"), workers=1, keep_decoded_mb=0)
    shutil.copytree(lossy.text_cache, tmp_path / "captions")
    moved = replace(lossy, data=data, text_cache=str(tmp_path / "captions"), log_every=6, checkpoint_every=4)
    train_tokenizer(moved, tmp_path / "run", stop_at=STEPS)
    (tensors, _), (others, _) = read_checkpoint(straight, STEPS), read_checkpoint(tmp_path / "run", STEPS)
    assert tensors.keys() == others.keys()
    assert all(torch.equal(value, others[name]) for name, value in tensors.items())


def test_the_checkpoint_holds_what_the_run_is(straight: Path, read_checkpoint: Reader) -> None:
    tensors, state = read_checkpoint(straight, STEPS)
    text = json.dumps(state)
    for name in ("state/model/encoder", "state/ema/encoder", "state/optimizers/1", "momentum_buffer"):
        assert any(name in key for key in tensors), name
    assert all(f'["{key}", ' in text for key in ("epoch", "batch", "bad", "validation", "means"))
    assert '["skipped", {"value": 1}]' in text
    (bad,) = [json.loads(line) for line in (straight / "bad.jsonl").read_text().splitlines()]
    assert bad["key"] == "bad"
    assert [p.name for p in sorted((straight / "checkpoints").iterdir())] == [
        "step-00000006",
        "step-00000008",
    ]


def test_a_mix_goes_on_too_and_is_recorded(
    tiny: TokenizerRun, tmp_path: Path, read_checkpoint: Reader, read_metrics: Callable
) -> None:
    mixed = replace(tiny, mix=f"{tiny.data.source}:0.25", data=replace(tiny.data, split="val", crop=0.1))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_tokenizer(mixed, whole, stop_at=6)
    for step in (3, 6):
        train_tokenizer(mixed, parts, stop_at=step)
    assert_same_state(read_checkpoint, whole, parts, 6)
    assert read_metrics(whole) == read_metrics(parts)
    record = json.loads((whole / "run.json").read_text())
    assert record["config"]["mix"] == mixed.mix and record["facts"]["mix"] != record["facts"]["data"]
    with pytest.raises(ValueError, match="mix was"):
        train_tokenizer(replace(mixed, mix=f"{tiny.data.source}:0.5"), parts, stop_at=7)


def test_a_mix_fills_a_batch_that_few_pictures_do_not(
    tiny: TokenizerRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = replace(tiny, mix=f"{tiny.data.source}:0.5", batch_size=32, data=replace(tiny.data, split="val"))
    train_tokenizer(many, tmp_path / "half", stop_at=1)
    assert "do not fill" not in capsys.readouterr().err
    train_tokenizer(replace(many, batch_size=40), tmp_path / "more", stop_at=1)
    assert "do not fill 40; it is 32" in capsys.readouterr().err
    with pytest.raises(ValueError, match="batch_size: got 1"):
        train_tokenizer(replace(many, batch_size=1), tmp_path / "one", stop_at=1)


def test_codebook_and_discriminator_go_on_too(
    adversarial: TokenizerRun, tmp_path: Path, read_checkpoint: Reader, read_metrics: Callable
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_tokenizer(adversarial, whole, stop_at=7)
    train_tokenizer(adversarial, parts, stop_at=4)
    train_tokenizer(adversarial, parts, stop_at=7)
    assert_same_state(read_checkpoint, whole, parts, 7)
    assert read_metrics(whole) == read_metrics(parts)
    tensors, _ = read_checkpoint(whole, 7)
    assert int(tensors["state/others/discriminator/objective/lecam.updates"]) == 6
    assert any("state/others/discriminator/optimizer" in name for name in tensors)
    assert {"loss/adversarial", "loss/lecam", "loss/r1", "revived"} <= read_metrics(whole)[-1].keys()


# --- killed ---------------------------------------------------------------------------------------------

# The process forks once for each way to die, so that torch is imported once. Each child breaks step 1 as the
# undisturbed run does.
KILLED = """
import json, os, pickle, shutil, signal, sys
from dataclasses import replace
from pathlib import Path

import torch

torch.set_num_threads(1)
from textok.training import run_folder
from textok.training.tokenizer import setup, train as tokenizer

run = pickle.loads(bytes.fromhex(sys.argv[1]))
whole = setup.micro_batches


def broken(*args, step, **kwargs):
    for part in whole(*args, step=step, **kwargs):
        yield replace(part, images=part.images * torch.nan) if step == 1 else part


setup.micro_batches = broken


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def while_logging(out):
    def log(self, step, values):
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write('{"step": %d, "loss/pix' % step if step == 6 else json.dumps({"step": step, **values}) + chr(10))
        if step == 6:
            die()

    run_folder.RunFolder.log = log


def before_rename(out):
    rename = os.replace
    os.replace = lambda a, b: die() if Path(b).name == "step-00000004" else rename(a, b)


def while_pruning(out):
    def rmtree(path, ignore_errors=False):
        if ignore_errors:  # what a failed write would have left: there is none
            return
        next(Path(path).iterdir()).unlink()
        die()

    shutil.rmtree = rmtree


for name, arrange in {"log": while_logging, "rename": before_rename, "prune": while_pruning}.items():
    child = os.fork()
    if child == 0:
        out = Path(sys.argv[2]) / name
        arrange(out)
        tokenizer.train_tokenizer(run, out, stop_at=8)
        os._exit(0)
    print(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(scope="module")
def killed(lossy: TokenizerRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders of processes that died of SIGKILL."""
    out = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-c", KILLED, pickle.dumps(lossy).hex(), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    died = [line for line in done.stdout.splitlines() if line.endswith(" -9")]
    assert died == ["log -9", "rename -9", "prune -9"], done.stdout + done.stderr
    return out


@pytest.mark.parametrize(("way", "reached"), [("log", 4), ("rename", 2), ("prune", 6)])
def test_a_killed_run_goes_on(
    way: str,
    reached: int,
    killed: Path,
    lossy: TokenizerRun,
    straight: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    read_checkpoint: Reader,
    read_metrics: Callable,
) -> None:
    out = killed / way
    leftovers = list((out / "checkpoints").glob(".*.tmp"))
    assert bool(leftovers) == (way == "rename")
    break_step(monkeypatch, 1)
    train_tokenizer(lossy, out, stop_at=STEPS)
    assert f"from step {reached} of" in capsys.readouterr().out
    assert_same_state(read_checkpoint, straight, out)
    assert read_metrics(straight) == read_metrics(out)
    assert not list((out / "checkpoints").glob(".*.tmp"))


def test_a_ctrl_c_saves_and_leaves(
    lossy: TokenizerRun,
    straight: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read_checkpoint: Reader,
) -> None:
    break_step(monkeypatch, 1)
    read = TrainLoader.__next__

    def interrupted(loader: TrainLoader) -> Any:
        if loader.batch == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return read(loader)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(TrainLoader, "__next__", interrupted)
        weights = train_tokenizer(lossy, tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    assert (weights / "model.safetensors").is_file() and (tmp_path / "checkpoints/step-00000003").is_dir()
    train_tokenizer(lossy, tmp_path, stop_at=STEPS)
    assert_same_state(read_checkpoint, straight, tmp_path)


# --- damaged --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["cut", "gone", "scrambled"])
def test_a_damaged_checkpoint_is_named(
    damage: str, straight: Path, lossy: TokenizerRun, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(straight, out)
    newest = out / "checkpoints" / "step-00000008"
    tensors, state = newest / "tensors.safetensors", newest / "state.json"
    if damage == "cut":
        tensors.write_bytes(tensors.read_bytes()[:-100])
    elif damage == "gone":
        tensors.unlink()
    else:
        state.write_text(state.read_text()[:50])
    with pytest.raises(ValueError, match=r"step-00000008:"):
        train_tokenizer(lossy, out, stop_at=STEPS)
