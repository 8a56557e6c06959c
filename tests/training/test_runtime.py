"""Manners of the loop: signals, means over steps and ranks, speed."""

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from textok.pipeline.stopping import polite_stop
from textok.training.run_folder import RunFolder
from textok.training.state import Means, NonFiniteGuard, Throughput


@pytest.fixture
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def test_a_signal_is_a_request_and_a_second_ctrl_c_an_order() -> None:
    with polite_stop() as stop:
        assert not stop.agreed("cpu")
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.agreed("cpu")
        os.kill(os.getpid(), signal.SIGTERM)  # torchrun's, after the user's Ctrl-C
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with polite_stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked


def test_the_ctrl_c_that_torchrun_repeats_is_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    clock = [100.0]
    monkeypatch.setattr("textok.pipeline.stopping.time.monotonic", lambda: clock[0])
    with polite_stop() as stop:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.asked
        clock[0] += 2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_end_of_the_hours_is_a_request() -> None:
    with polite_stop(hours=1.0) as stop:
        assert not stop.agreed("cpu")
    with polite_stop(hours=0.0) as stop:
        assert stop.agreed("cpu")


def test_handlers_come_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError), polite_stop():
        raise RuntimeError
    assert signal.getsignal(signal.SIGTERM) is before


def test_means_survive_a_save(accelerator: Accelerator) -> None:
    means, other = Means(), Means()
    means.add({"a": torch.tensor(1.0), "rare": torch.tensor(5.0)})
    other.load_state_dict(means.state_dict())
    other.add({"a": torch.tensor(2.0)})
    assert other.take(accelerator) == {"a": 1.5, "rare": 5.0}
    assert other.take(accelerator) == {}


def test_the_guard_counts_to_its_limit(tmp_path: Path) -> None:
    guard, folder = NonFiniteGuard(limit=1), RunFolder(tmp_path)
    assert guard.admits(torch.tensor(1e30)) and guard.skipped == 0
    assert not guard.admits(torch.tensor(torch.inf))
    guard.note(folder, step=1, rank=0, keys=["a"])
    assert not guard.admits(torch.tensor(torch.nan))
    with pytest.raises(FloatingPointError, match=r"step 2:"):
        guard.note(folder, step=2, rank=0, keys=["a", "b"])


def test_speed_counts_since_the_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10.0
    monkeypatch.setattr("textok.training.state.time.perf_counter", lambda: now)
    speed = Throughput()
    speed.add(64)
    now = 14.0
    assert speed.take() == 16
    speed.add(64)
    speed.restart()
    speed.add(10)
    now = 15.0
    assert speed.take() == 10


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    script = """
import resource, torch
from textok.pipeline.precision import keep_freed_memory
keep_freed_memory()
for _ in range(20):  # the heap settles in the first ones
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(8_000_000)  # 7,812 pages
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert min(map(int, run.stdout.split())) < 1000
