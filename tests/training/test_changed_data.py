"""A run whose pictures or captions change while it is stopped: named, or gone on with when that is accepted."""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from textok.models.text_encoder import TextEncoder
from textok.training.generator.config import GeneratorRun
from textok.training.generator.train import train_generator
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.train import train_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
COUNT = 16


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (1e9, 1e9))


def picture(number: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "bmp")
    return stream.getvalue()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    for part in ("train", "val"):
        for number in range(COUNT):
            write(tmp_path / "own" / part / f"{number:02d}.bmp", picture(number))
            write(tmp_path / "own" / part / f"{number:02d}.txt", f"number {number:02d}".encode())
    return tmp_path / "own"


@pytest.fixture
def run(tiny: TokenizerRun, own: Path, tmp_path: Path) -> TokenizerRun:
    judge = replace(tiny.validation, every=8, budgets=(4,))
    data = replace(tiny.data, source=str(own))
    text = str(tmp_path / "text")
    return replace(tiny, data=data, text_cache=text, steps=8, validation=judge)


def repaint(own: Path, part: str = "train") -> None:
    write(own / part / "03.bmp", picture(99))


def recaption(own: Path, part: str = "train") -> None:
    write(own / part / "03.txt", b"numbers 3")


def rename(own: Path, part: str = "train") -> None:
    for suffix in ("bmp", "txt"):
        (own / part / f"03.{suffix}").rename(own / part / f"77.{suffix}")


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize(
    ("change", "named"),
    [(repaint, "03: another picture"), (recaption, "03: other captions"), (rename, "03: is gone")],
)
def test_what_changed_is_named_and_accepted_when_told_to(
    change: Callable[[Path, str], None], named: str, part: str, run: TokenizerRun, own: Path, tmp_path: Path
) -> None:
    train_tokenizer(run, tmp_path / "run", stop_at=4)
    before = (tmp_path / "run" / "contents.json").read_bytes()
    change(own, part)
    for _ in range(2):
        with pytest.raises(ValueError, match=named):
            train_tokenizer(run, tmp_path / "run", stop_at=6)
    assert (tmp_path / "run" / "contents.json").read_bytes() == before
    train_tokenizer(run, tmp_path / "run", stop_at=6, accept_changes=True)
    assert train_tokenizer(run, tmp_path / "run").is_dir(), "once accepted is accepted"


def test_a_copy_goes_on_bit_for_bit(run: TokenizerRun, own: Path, tmp_path: Path) -> None:
    whole = train_tokenizer(run, tmp_path / "whole")
    train_tokenizer(run, tmp_path / "run", stop_at=3)
    moved = replace(run, data=replace(run.data, source=str(tmp_path / "moved")))
    shutil.copytree(own, tmp_path / "moved", copy_function=shutil.copy)
    shutil.rmtree(own)
    weights = train_tokenizer(moved, tmp_path / "run")
    assert (weights / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    contents = json.loads((tmp_path / "run" / "contents.json").read_text())
    assert contents["train"] == json.loads((tmp_path / "whole" / "contents.json").read_text())["train"]
    assert len(contents["same"]) == 2 and len(contents["train"]) == len(contents["held_out"]) == COUNT


def test_more_and_fewer_pictures_are_named_and_accepted(run: TokenizerRun, own: Path, tmp_path: Path) -> None:
    train_tokenizer(run, tmp_path / "run", stop_at=3)
    write(own / "train" / "55.bmp", picture(55))
    with pytest.raises(ValueError, match="samples was 16, is 17"):
        train_tokenizer(run, tmp_path / "run")
    train_tokenizer(run, tmp_path / "run", stop_at=4, accept_changes=True)
    for number in range(8):
        (own / "train" / f"{number:02d}.bmp").unlink()
    with pytest.raises(ValueError, match="is gone"):
        train_tokenizer(run, tmp_path / "run")
    assert train_tokenizer(run, tmp_path / "run", accept_changes=True).is_dir()


def test_drawn_pictures_go_on(run: TokenizerRun, tmp_path: Path) -> None:
    data = replace(run.data, source="scenes:count=64", split="train", size=(64, 64))
    drawn = replace(run, data=data, model=replace(run.model, image_size=64))
    for last in (1, 2, 3):
        train_tokenizer(drawn, tmp_path / "run", stop_at=last)
    assert json.loads((tmp_path / "run" / "contents.json").read_text())["train"] == {}
    other = replace(drawn, data=replace(drawn.data, source="scenes:count=65"))
    with pytest.raises(ValueError, match="data: was 'scenes"):
        train_tokenizer(other, tmp_path / "run")


def test_a_run_may_be_extended_to_other_judges(run: TokenizerRun, tmp_path: Path) -> None:
    train_tokenizer(run, tmp_path / "run", stop_at=2)
    fewer = replace(run, validation=replace(run.validation, count=8))
    train_tokenizer(fewer, tmp_path / "run", stop_at=4, extend=True)


def test_other_latents_are_refused_or_accepted(
    generator_run: GeneratorRun, make_latents: Callable[..., Path], tmp_path: Path
) -> None:
    train_generator(generator_run, tmp_path / "run", stop_at=2)
    other = shutil.copytree(generator_run.latents, tmp_path / "latents")
    manifest = json.loads((other / "manifest.json").read_text())
    file = manifest["shards"][0]["file"]
    data = bytearray((other / file).read_bytes())
    data[-1] ^= 1
    (other / file).write_bytes(data)
    manifest["shards"][0]["sha256"] = hashlib.sha256(data).hexdigest()
    (other / "manifest.json").write_text(json.dumps(manifest))
    changed = replace(generator_run, latents=str(other))
    with pytest.raises(ValueError, match="data: was"):
        train_generator(changed, tmp_path / "run", stop_at=4)
    train_generator(changed, tmp_path / "run", stop_at=4, accept_changes=True)


def test_another_text_encoder_is_refused(
    run: TokenizerRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_tokenizer(run, tmp_path / "run", stop_at=2)
    whole = TextEncoder.describe
    monkeypatch.setattr(
        TextEncoder, "describe", lambda *args, **names: replace(whole(*args, **names), fingerprint="0" * 32)
    )
    with pytest.raises(ValueError, match="text_encoder was"):
        train_tokenizer(run, tmp_path / "run")
