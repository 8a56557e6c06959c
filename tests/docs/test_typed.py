"""A user's script: it runs, and the strict checks of mypy and pyright find nothing in it but what is wrong."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples/one_of_each.py"
WRONG = '''
from typing import assert_type

import torch
from PIL import Image

from textok import AutoencoderTexTok, ImageTokenizer, Pipeline, Tokens


def calls(tokenizer: ImageTokenizer, tokens: Tokens, vae: AutoencoderTexTok, pipeline: Pipeline) -> None:
    """What the calls return is known, and three mistakes are seen."""
    assert_type(tokenizer.encode("apple.png", "an apple"), Tokens)
    assert_type(tokenizer.decode(tokens), list[Image.Image])
    assert_type(tokenizer.decode(tokens, output="uint8"), torch.Tensor)
    assert_type(pipeline("an apple"), list[Image.Image])
    assert_type(vae.encode(torch.zeros(1)).latent_dist.sample(), torch.Tensor)
    assert_type(vae.decode(torch.zeros(1)).sample, torch.Tensor)
    tokenizer.encode("apple.png", num_tokens="8")  # wrong
    tokenizer.decode([tokens])  # wrong
    Pipeline.from_pretrained("icons-128", precision="float32")  # wrong
'''
# What a script of ours does not touch of the libraries below us is not read, which takes most of the time.
UNREAD = (
    "transformers accelerate gradio sympy tensorboard huggingface_hub jinja2 rich tyro fsspec torch._inductor",
    "torch._dynamo torch.fx torch.onnx torch.distributed torch._functorch torch.export torch.ao torch._export",
    "torch._subclasses torch._higher_order_ops torch.testing torch.utils.tensorboard",
)


@pytest.fixture
def scripts(tmp_path: Path) -> list[str]:
    shutil.copy(SCRIPT, tmp_path)
    (tmp_path / "wrong.py").write_text(WRONG)
    return [SCRIPT.name, "wrong.py"]


def places(report: str) -> set[tuple[str, int]]:
    """File and line of every error."""
    found = re.findall(r"([\w.]+\.py):(\d+)(?::\d+)?(?: -|:) error", report)
    return {(name, int(line)) for name, line in found}


def expected() -> set[tuple[str, int]]:
    lines = enumerate(WRONG.splitlines(), 1)
    return {("wrong.py", number) for number, line in lines if line.endswith("# wrong")}


@pytest.mark.slow
def test_mypy_finds_what_is_wrong_and_nothing_else(tmp_path: Path, scripts: list[str]) -> None:
    unread = ",".join(f"{name}.*" for names in UNREAD for name in names.split())
    (tmp_path / "mypy.ini").write_text(
        f"[mypy]\nstrict = True\nfollow_imports = silent\n[mypy-{unread}]\nfollow_imports = skip\n"
    )
    words = [sys.executable, "-m", "mypy", "--cache-dir", os.devnull, *scripts]
    found = subprocess.run(words, cwd=tmp_path, env=os.environ | {"MYPYPATH": str(ROOT / "src")},
                           capture_output=True, text=True)  # fmt: skip
    assert places(found.stdout) == expected(), found.stdout + found.stderr


@pytest.mark.slow
def test_pyright_finds_what_is_wrong_and_nothing_else(tmp_path: Path, scripts: list[str]) -> None:
    settings = {"typeCheckingMode": "strict", "include": scripts, "extraPaths": [str(ROOT / "src")]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    words = [sys.executable, "-m", "pyright", "-p", tmp_path, "--pythonpath", sys.executable]
    found = subprocess.run(words, capture_output=True, text=True)
    assert places(found.stdout) == expected(), found.stdout + found.stderr


@pytest.mark.slow
def test_the_script_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in sorted((ROOT / "datasets/demo-pictures").glob("*.tar"))[:1]:
        with tarfile.open(path) as tar:
            pictures = [member for member in tar if member.name.endswith(".webp")][:12]
            tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.2 has none
            tar.extractall(tmp_path / "mine", members=pictures)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, "mine", "--caption", "a drawing", "--out", "tried"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert {"pictures.ttk", "tokens.safetensors", "drawn.png", "run"} <= {
        p.name for p in Path("tried").iterdir()
    }
