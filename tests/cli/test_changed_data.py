"""Pictures and captions that change between an interruption and the same command: what is made, and what is named."""

import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from textok.cli import encode, main
from textok.data.latents import LatentCache
from textok.models.text_encoder import TextEncoder
from textok.models.tokenizer import TexTok

pytestmark = pytest.mark.slow


@pytest.fixture
def own(pictures: Path, tmp_path: Path) -> Path:
    """Pictures that may be changed."""
    return Path(shutil.copytree(pictures, tmp_path / "own"))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "PART_PICTURES", 1)


def repaint(own: Path) -> None:
    """Another picture of the same size in bytes and with the same time."""
    keep_state(own / "square-1.png", lambda data: _png((data[-9], 3, 200)))


def recaption(own: Path) -> None:
    keep_state(own / "metadata.jsonl", lambda data: data.replace(b"a green", b"a white"))


def rename(own: Path) -> None:
    (own / "square-1.png").rename(own / "triangle.png")
    keep_state(own / "metadata.jsonl", lambda data: data.replace(b"square-1", b"triangle"))


def reorder(own: Path) -> None:
    keep_state(own / "metadata.jsonl", lambda data: b"\n".join(reversed(data.split(b"\n"))))


def keep_state(path: Path, change: Callable[[bytes], bytes]) -> None:
    state, data = path.stat(), path.read_bytes()
    path.write_bytes(change(data))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def touch(own: Path) -> None:
    for path in own.iterdir():
        os.utime(path)


def _png(colour: tuple[int, int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 36), colour).save(stream, "png")
    return stream.getvalue()


# --- encode ---------------------------------------------------------------------------------------------------


def interrupted(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run ``encode`` up to its last part."""
    with monkeypatch.context() as patch:
        patch.setattr(encode, "_write", _interrupt)
        assert main(words) == 130


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("change", "named"),
    [(repaint, "square-1: another picture"), (recaption, "square-1: other captions"),
     (rename, "square-1: is gone; triangle: is new"), (reorder, "another order"), (touch, "")],
)  # fmt: skip
def test_encode_makes_anew_what_changed_and_names_it(
    change: Callable[[Path], None],
    named: str,
    own: Path,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["encode", str(own), "--model", str(model_folder), "--batch-size", "1"]
    interrupted([*words, "--out", str(tmp_path / "x.safetensors")], monkeypatch)
    change(own)
    made: list[int] = []
    whole = encode.encode_batch
    monkeypatch.setattr(encode, "encode_batch", lambda *args: made.append(1) or whole(*args))
    assert main([*words, "--out", str(tmp_path / "x.safetensors")]) == 0
    again, told = len(made), capsys.readouterr().err
    assert named in told if named else "made anew" not in told
    assert again == (0 if change is touch else 4 if change is reorder else 1)
    assert main([*words, "--out", str(tmp_path / "y.safetensors")]) == 0
    assert (tmp_path / "x.safetensors").read_bytes() == (tmp_path / "y.safetensors").read_bytes()


def test_encode_goes_on_with_fewer_pictures(
    own: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["encode", str(own), "--model", str(model_folder), "--batch-size", "1", "--out"]
    interrupted([*words, str(tmp_path / "x.safetensors")], monkeypatch)
    lines = (own / "metadata.jsonl").read_text().splitlines()
    (own / "metadata.jsonl").write_text("\n".join(lines[:3]))
    (own / "square-3.png").unlink()
    for name in "xy":
        assert main([*words, str(tmp_path / f"{name}.safetensors")]) == 0
    assert (tmp_path / "x.safetensors").read_bytes() == (tmp_path / "y.safetensors").read_bytes()


def test_a_token_file_knows_what_it_was_made_of(
    own: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = []
    for change in (touch, touch, recaption, repaint):
        change(own)
        words = ["encode", str(own), "--model", str(model_folder), "--no-captions", "--json"]
        assert main([*words, "--out", str(tmp_path / "x.safetensors"), "--overwrite"]) == 0
        contents.append(json.loads(capsys.readouterr().out)["settings"]["content"])
    assert contents[0] == contents[1] and len(set(contents)) == 3


# --- cache ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [(repaint, "square-1: another picture"), (recaption, "square-1: other captions"),
     (rename, "square-1: is gone; triangle: is new"), (reorder, "another order")],
)  # fmt: skip
def test_cache_names_what_changed_and_makes_it_anew_when_told_to(
    change: Callable[[Path], None],
    named: str,
    own: Path,
    model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["cache", "--model", str(model_folder), "--data", str(own), "--shard-pictures", "1"]
    words += ["--batch-size", "1", "--out"]
    shards = [*words, str(tmp_path / "x")]
    assert main(shards) == 0
    touch(own)
    assert main(shards) == 0
    before = files_of(tmp_path / "x")
    change(own)
    assert main(shards) == 2
    told = capsys.readouterr().err
    assert named in told and "--accept-changes" in told and files_of(tmp_path / "x") == before
    assert main([*shards, "--accept-changes"]) == 0
    after = files_of(tmp_path / "x")
    kept = sum(before.get(name) == content for name, content in after.items())
    assert kept == (0 if change is reorder else 3)
    assert main([*words, str(tmp_path / "y")]) == 0
    assert after == files_of(tmp_path / "y") and main(shards) == 0
    assert LatentCache.open(tmp_path / "x").manifest.complete


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def test_cache_with_fewer_pictures(own: Path, model_folder: Path, tmp_path: Path) -> None:
    words = ["cache", "--model", str(model_folder), "--data", str(own), "--shard-pictures", "1", "--out"]
    assert main([*words, str(tmp_path / "x")]) == 0
    lines = (own / "metadata.jsonl").read_text().splitlines()
    (own / "metadata.jsonl").write_text("\n".join(lines[:3]))
    (own / "square-3.png").unlink()
    assert main([*words, str(tmp_path / "x")]) == 2
    assert main([*words, str(tmp_path / "x"), "--accept-changes"]) == 0
    assert LatentCache.open(tmp_path / "x").manifest.pictures == 3 and len(files_of(tmp_path / "x")) == 3


# --- models ---------------------------------------------------------------------------------------------------


def test_weights_are_known_by_their_content_and_not_by_their_name(
    own: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = TexTok.from_pretrained(model_folder)
    model.save_pretrained(tmp_path / "renamed", name="another-name")
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    model.train().eval()
    model.save_pretrained(tmp_path / "impostor", name="tiny")
    caching = ["cache", "--data", str(own), "--out", str(tmp_path / "c"), "--model"]
    for suffix in ("safetensors", "ttk"):
        file = str(tmp_path / f"x.{suffix}")
        assert main(["encode", str(own), "--model", str(model_folder), "--out", file]) == 0
        decoding = ["decode", file, "--out", str(tmp_path / suffix), "--model"]
        assert main([*decoding, str(tmp_path / "renamed")]) == 0
        assert main([*decoding, str(tmp_path / "impostor")]) == 2
        assert "load the model that made" in capsys.readouterr().err
    assert main([*caching, str(model_folder)]) == 0
    assert main([*caching, str(tmp_path / "renamed")]) == 0
    capsys.readouterr()
    assert main([*caching, str(tmp_path / "impostor")]) == 2
    assert "tokenizer was" in capsys.readouterr().err


def test_a_cache_knows_its_text_encoder_by_content(
    own: Path,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["cache", "--data", str(own), "--model", str(model_folder), "--out", str(tmp_path / "c")]
    assert main(words) == 0
    whole = TextEncoder.describe
    monkeypatch.setattr(
        TextEncoder, "describe", lambda *args, **names: replace(whole(*args, **names), fingerprint="0" * 32)
    )
    assert main(words) == 2
    assert "text_encoder was" in capsys.readouterr().err


def test_the_shipped_tokenizer_keeps_its_hash_when_it_is_saved_again(tmp_path: Path) -> None:
    model = TexTok.from_pretrained("icons-128")
    assert model.save_pretrained(tmp_path / "m", name="other").rpartition("-")[2] == model.model_id[-8:]
