"""A cluster of two cores on this machine, on which the tests start their drivers as a user does."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from textok.models.bottleneck import FSQConfig
from tiny import tiny_model

Driver = Callable[..., subprocess.Popen]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster of two cores; all of its processes end with the tests."""
    port = _free_port()
    words = ["start", "--head", "--block", f"--port={port}", "--num-cpus=2", "--include-dashboard=false"]
    words += ["--object-store-memory=100000000", "--disable-usage-stats"]
    os.environ["RAY_AUTH_MODE"] = "disabled"  # else Ray leaves a token in the home of whoever tests
    file = tmp_path_factory.mktemp("ray") / "log"
    log = file.open("wb")
    head = subprocess.Popen([sys.executable, "-m", "ray.scripts.scripts", *words], stdout=log, stderr=log)
    while "Ray runtime started" not in file.read_text():
        assert head.poll() is None, file.read_text()
        time.sleep(0.1)
    yield f"127.0.0.1:{port}"
    family = [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]
    for process in family:
        process.send_signal(signal.SIGKILL)
    head.wait()
    log.close()


@pytest.fixture
def drive() -> Iterator[Driver]:
    """A function that starts ``textok`` with these words in a process of its own, which ends with the test."""
    started = list[subprocess.Popen]()

    def start(*words: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "textok.cli", *map(str, words)]
        environment = os.environ | {"TQDM_DISABLE": "1"}
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny discrete tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    tiny_model(FSQConfig(levels=(8, 5, 5)), std=0.2).save_pretrained(folder, name="tiny")
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four pictures with captions, large enough that there is time to kill those who read them."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(24):
        Image.new("RGB", (1200, 1100), (10 * i, 255 - 10 * i, 40)).save(folder / f"picture-{i:02d}.png")
        (folder / f"picture-{i:02d}.txt").write_text(f"a square of colour {i}")
    return folder
