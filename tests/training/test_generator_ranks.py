"""Two processes under torchrun train one generator: sharded weights (FSDP2) learn what whole ones do."""

import pickle
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from textok.models.generators import load_generator
from textok.training.generator.config import GeneratorRun
from textok.training.generator.train import train_generator

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
WORKER = Path(__file__).with_name("two_ranks_generator.py")


@pytest.fixture(scope="module")
def trained(generator_run: GeneratorRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders of a replicated and a sharded run, stopped and resumed, and of one that was not stopped."""
    out = tmp_path_factory.mktemp("ranks")
    whole = replace(generator_run, name="replicated", steps=4, batch_size=8, micro_batch=3)
    sharded = replace(whole, sharded=True)
    runs = [
        whole,
        replace(sharded, name="sharded"),
        replace(whole, name="whole"),
        replace(sharded, name="bfloat16", precision="bfloat16"),
        replace(sharded, name="machines"),
    ]
    (out / "runs.pkl").write_bytes(pickle.dumps(runs))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", port]
    command = [*torchrun, str(WORKER), str(out / "runs.pkl"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_generator(folder / "weights").state_dict()


@pytest.mark.parametrize("name", ["sharded", "machines"])
def test_sharded_weights_learn_what_whole_ones_do(name: str, trained: Path) -> None:
    whole, parts = weights(trained / "replicated"), weights(trained / name)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=1e-5, rtol=1e-4, msg=name)


def test_weights_gathered_in_bfloat16_learn_nearly_the_same(trained: Path) -> None:
    exact, rounded = weights(trained / "sharded"), weights(trained / "bfloat16")
    for name, value in exact.items():
        assert rounded[name].dtype == value.dtype
        torch.testing.assert_close(rounded[name], value, atol=5e-3, rtol=0.05, msg=name)
    assert any(not torch.equal(rounded[name], value) for name, value in exact.items())


def test_stopped_ranks_end_in_the_bits_of_those_that_were_not(trained: Path) -> None:
    stopped, whole = weights(trained / "replicated"), weights(trained / "whole")
    assert all(torch.equal(stopped[name], value) for name, value in whole.items())


def test_training_changed_them(trained: Path, generator_run: GeneratorRun, tmp_path: Path) -> None:
    train_generator(replace(generator_run, steps=1), tmp_path)
    first, last = weights(tmp_path), weights(trained / "sharded")
    assert any(not torch.allclose(first[name], last[name], atol=1e-4) for name in first)
