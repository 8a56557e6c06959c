"""The job for Slurm and the container file, as far as a machine without Slurm, Docker and GPUs can run them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What Slurm would do on a cluster of one machine; scancel hands the signal to the step that srun started.
COMMANDS = {
    "srun": 'shift\necho $$ > "$STATE/step"\nexec "$@"\n',
    "scontrol": 'if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >> "$STATE/queued"; fi\n',
    "scancel": 'kill -TERM "$(cat "$STATE/step")"\n',
}
Job = Callable[..., subprocess.Popen]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A function that starts the job with a recipe's options, on one rank."""
    state = tmp_path / "state"
    state.mkdir()
    for name, body in COMMANDS.items():
        (state / name).write_text(f"#!/bin/sh\n{body}")
        (state / name).chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    path = f"{state}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    slurm = {
        "SLURM_JOB_NODELIST": "here",
        "SLURM_NNODES": "1",
        "SLURM_GPUS_ON_NODE": "1",
        "SLURM_JOB_ID": "7",
    }
    own = {"STATE": str(state), "PATH": path, "PORT": port, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}

    def start(*words: object) -> subprocess.Popen:
        command = ["bash", ROOT / "runs/slurm.sh", "toy", tmp_path / "run", *words]
        return subprocess.Popen(list(map(str, command)), cwd=ROOT, env=os.environ | slurm | own)

    return start


def test_a_job_that_runs_out_of_time_saves_queues_itself_and_ends_when_it_runs_again(
    job: Job, tmp_path: Path
) -> None:
    words = ("--steps", 120, "--log-every", 1, "--batch-size", 4, "--validation.count", 4)
    first, log = job(*words), tmp_path / "run/metrics.jsonl"
    while not log.exists():
        assert first.poll() is None
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 0
    assert (tmp_path / "state/queued").read_text() == "requeue 7\n"
    reached = json.loads(log.read_text().splitlines()[-1])["step"]
    assert 0 < reached < 120 and list((tmp_path / "run/checkpoints").iterdir())
    assert job("--steps", 120, *words[2:]).wait() == 0
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["facts"]["ranks"] == 1 and (tmp_path / "run/weights/model.safetensors").is_file()


def test_what_the_container_takes_is_there_and_is_enough(tmp_path: Path) -> None:
    lines = (ROOT / "runs/Containerfile").read_text().replace("\\\n", " ").splitlines()
    copied = [line.split()[1:] for line in lines if line.startswith("COPY")]
    for *names, target in copied:
        for name in names:
            source, place = ROOT / name, tmp_path / target / Path(name).name
            if source.is_dir():
                shutil.copytree(source, tmp_path / target, symlinks=True, copy_function=os.symlink)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, place)
    words = ["train", "tokenizer", "toy", "--out", "runs-out/toy", "--steps", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "textok.cli", *words], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "src"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "runs-out/toy/weights/model.safetensors").is_file()
    entry = next(line for line in lines if line.startswith("ENTRYPOINT"))
    assert json.loads(entry.removeprefix("ENTRYPOINT")) == ["textok"]
