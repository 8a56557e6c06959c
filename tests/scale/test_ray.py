"""--engine ray: the same files as without it, whoever is killed, and one line for a job that cannot start."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
import pytest

from textok import scale
from textok.captioning.journal import CAPTIONS, read_rows
from textok.cli import main
from textok.evaluation.results import read_result
from textok.scale import Plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # Ray takes its time to start where other tests run
Driver = Callable[..., subprocess.Popen]


def run(*words: object) -> int:
    return main([str(word) for word in words])


def finish(process: subprocess.Popen) -> str:
    """Its last words, when it has ended well."""
    out, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    return out


def wait_for(found: Callable[[], Iterable[object]], process: subprocess.Popen) -> None:
    while not list(found()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def workers() -> list[psutil.Process]:
    """Ray's processes that hold a model; the words of a command line tell them."""
    processes = psutil.process_iter(["cmdline"])
    return [one for one in processes if (one.info["cmdline"] or [""])[0].startswith("ray::MapWorker")]


@pytest.mark.slow
def test_encoding_is_the_same_whoever_is_killed(
    cluster: str, drive: Driver, model: Path, pictures: Path, tmp_path: Path
) -> None:
    """A worker is killed, then the driver, then it goes on: the bytes are those of the local path."""
    words = ["encode", pictures, "--model", model, "--batch-size", 1, "--shard-pictures", 1, "--out"]
    ray = ["--engine", "ray", "--address", cluster, "--workers", 2]
    assert run(*words, tmp_path / "local.parquet") == 0
    out, parts = tmp_path / "ray.parquet", tmp_path / ".ray.parquet.parts"
    first = drive(*words, out, *ray)
    wait_for(lambda: parts.glob("0*.json"), first)
    workers()[0].kill()
    before = {file.name: file.stat().st_mtime_ns for file in parts.glob("0*.json")}
    wait_for(lambda: set(parts.glob("0*.json")) - {parts / name for name in before}, first)
    first.kill()
    first.communicate()
    assert not out.exists() and 0 < len(before) < 24
    finish(drive(*words, out, *ray))
    for file in (tmp_path / "local.parquet").iterdir():
        assert (out / file.name).read_bytes() == file.read_bytes()
    assert not parts.exists()


@pytest.mark.slow
def test_a_cache_is_the_same_and_only_what_is_damaged_is_made_again(
    cluster: str, drive: Driver, model: Path, pictures: Path, tmp_path: Path
) -> None:
    words = ["cache", "--data", pictures, "--model", model, "--batch-size", 4, "--shard-pictures", 4]
    words += ["--text-cache", tmp_path / "text", "--out"]
    assert run(*words, tmp_path / "local") == 0
    out = Path(shutil.copytree(tmp_path / "local", tmp_path / "ray"))
    for number in (2, 4):
        (out / f"latents-{number:05d}.safetensors").write_bytes(b"damaged")
    times = {file.name: file.stat().st_mtime_ns for file in out.glob("*.safetensors")}
    finish(drive(*words, out, "--engine", "ray", "--address", cluster))
    again = {file.name for file in out.glob("*.safetensors") if file.stat().st_mtime_ns != times[file.name]}
    assert again == {"latents-00002.safetensors", "latents-00004.safetensors"}
    for file in (tmp_path / "local").iterdir():
        assert (out / file.name).read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_captions_are_the_same(cluster: str, drive: Driver, pictures: Path, tmp_path: Path) -> None:
    words = ["caption", pictures, "--prompt", "short", "--out"]
    assert run(*words, tmp_path / "local") == 0
    out = tmp_path / "ray"
    ray = ["--engine", "ray", "--address", cluster, "--block-pictures", 8]
    finish(drive(*words, out, *ray))
    local, here = (list(read_rows(folder / CAPTIONS)) for folder in (tmp_path / "local", out))
    assert {row["key"]: row["caption"] for row in here} == {row["key"]: row["caption"] for row in local}
    assert len(here) == 24


@pytest.mark.slow
def test_an_evaluation_is_the_same(
    cluster: str, drive: Driver, model: Path, pictures: Path, tmp_path: Path
) -> None:
    words = ["evaluate", "reconstruction", "--data", pictures, "--model", model, "--budgets", "1,4"]
    words += ["--batch-size", 3, "--limit", 16, "--conditions", "right,none", "--out"]
    assert run(*words, tmp_path / "local.json") == 0
    finish(drive(*words, tmp_path / "ray.json", "--engine", "ray", "--address", cluster, "--workers", 2))
    local, here = (read_result(tmp_path / f"{name}.json") for name in ("local", "ray"))
    assert len(local.rows) == 4 and "retrieval_two_tower_r1" in local.rows[0]
    for name in ("settings", "rows", "per_image", "latents"):
        assert getattr(here, name) == getattr(local, name)


def test_a_job_that_cannot_start_says_so(
    drive: Driver,
    model: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["encode", pictures, "--model", model, "--out", tmp_path / "x.ttk"]
    nowhere = drive(*words, "--engine", "ray", "--address", "127.0.0.1:1")
    assert run(*words, "--workers", 2) == 2
    assert "workers: got 2" in capsys.readouterr().err
    soft = ["--num-tokens", "1-2", "--quality", 20, "--overflow-share", 0.5]
    assert run(*words, *soft, "--engine", "ray") == 2
    assert "overflow_share: got 0.5" in capsys.readouterr().err
    priced = ["--max-cost", 1, "--price-out", 1]
    assert run("caption", pictures, "--out", tmp_path / "c", *priced, "--engine", "ray") == 2
    assert "max_cost: got 1" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(*words, "--engine", "ray") == 2
    assert "engine: got ray" in capsys.readouterr().err
    _, errors = nowhere.communicate(timeout=60)
    assert nowhere.returncode == 2 and errors.splitlines()[-1].startswith(
        "textok: error: address: got '127.0.0.1:1'"
    )


def test_a_full_cluster_is_not_waited_for_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        @staticmethod
        def available_resources() -> dict[str, float]:
            return {"CPU": 0.25}

    monkeypatch.setattr(scale, "_PATIENCE", 0)
    with pytest.raises(ValueError, match=r"engine: got 0\.25"):
        scale._wait_for_room(Full, Plan(workers=2, cores=0.5, gpus=0))


def test_the_plan_leaves_a_core() -> None:
    for cores in range(1, 70):
        plan = Plan.of({"CPU": float(cores)})
        assert plan.workers == cores and plan.workers * plan.cores <= max(cores - 1, 0.5)
    assert Plan.of({"CPU": 8.0}, workers=3) == Plan(workers=3, cores=1.0, gpus=0)
    assert Plan.of({"CPU": 16.0, "GPU": 2.0}) == Plan(workers=2, cores=1.0, gpus=1)
    assert Plan.of({"CPU": 16.0, "GPU": 2.0}, cuda=False).workers == 16
    for resources in ({}, {"CPU": 2.0}, {"CPU": 4.0, "GPU": 2.0}):
        with pytest.raises(ValueError, match="workers: got"):
            Plan.of(resources, workers=3)
