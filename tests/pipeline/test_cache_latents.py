"""Caching of latents: rows are what the tokenizer gives, however often the command is stopped or shared."""

import json
import os
import shutil
import signal
import socket
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from textok.data import BadSampleError, DataConfig
from textok.data.config import read_sample
from textok.data.latents import LatentCache
from textok.data.text import caption_in_form
from textok.models.bottleneck import AEConfig, BottleneckConfig, FSQConfig, KLConfig
from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok
from textok.pipeline import cache_rows as caching
from textok.pipeline.cache_latents import CachingRun, cache_latents
from textok.pipeline.text import CachedText
from textok.pixels import to_unit
from tiny import invented_states, tiny_model

VAL = Path(__file__).parents[2] / "datasets/icons-128/val-000000.tar"
COUNT = 10


@pytest.fixture(scope="module")
def labelled(write_tar: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Splits: train of ten labelled pictures, torn of the same with three that are none, the last among them."""
    folder, members = tmp_path_factory.mktemp("labelled"), {}
    with tarfile.open(VAL) as tar:
        for i in range(COUNT):
            record = json.loads(tar.extractfile(f"val-{i:06d}.json").read())
            caption = {"caption": record["caption"], "label": i % 4}
            members[f"{i:02d}.webp"] = tar.extractfile(f"val-{i:06d}.webp").read()
            members[f"{i:02d}.json"] = json.dumps(caption).encode()
    write_tar(folder / "train-000000.tar", members)
    for i in (4, 8, 9):
        members[f"{i:02d}.webp"] = b"not a picture"
    write_tar(folder / "torn-000000.tar", members)
    return folder


@pytest.fixture(autouse=True)
def encoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """No text encoder is loaded; the captions that one would have encoded."""
    seen: list[str] = []

    def states(captions: Sequence[str]) -> list[torch.Tensor]:
        seen.extend(captions)
        return invented_states(captions)

    monkeypatch.setattr(CachedText, "_encoder", lambda text: states)
    return seen


def saved_tokenizer(folder: Path, bottleneck: BottleneckConfig) -> TexTok:
    tiny_model(bottleneck).save_pretrained(folder, name="tiny")
    return TexTok.from_pretrained(folder).eval()


@pytest.fixture
def run(labelled: Path, tmp_path: Path) -> CachingRun:
    """Four shards of a kl tokenizer, two caption forms."""
    saved_tokenizer(tmp_path / "tokenizer", KLConfig(latent_dim=4))
    return CachingRun(
        tokenizer=str(tmp_path / "tokenizer"),
        data=DataConfig(source=str(labelled), split="train", size=(32, 32)),
        captions=("given", "thing"),
        shard_pictures=3,
        batch_size=2,
        text_cache=str(tmp_path / "text"),
        precision="float32",
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    "bottleneck", [AEConfig(latent_dim=4), KLConfig(latent_dim=4), FSQConfig(levels=(8, 5, 5))]
)
@pytest.mark.slow
def test_rows_are_what_the_tokenizer_gives(
    bottleneck: BottleneckConfig, run: CachingRun, encoded: list[str], tmp_path: Path
) -> None:
    model = saved_tokenizer(tmp_path / "kind", bottleneck)
    run = replace(run, tokenizer=str(tmp_path / "kind"), flip=True)
    manifest = cache_latents(run, tmp_path / "out")
    cache = LatentCache.open(tmp_path / "out")
    assert cache.manifest == manifest and (len(cache), manifest.pictures) == (4 * COUNT, COUNT)
    assert (manifest.tokenizer, manifest.num_classes) == (model.model_id, 4)
    assert len(encoded) == len(set(encoded)), "each distinct caption is encoded once"
    batch, source, seen = cache.batch(range(len(cache))), run.data.open(), set()
    for row, (key, caption) in enumerate(zip(batch.keys, batch.captions, strict=True)):
        number, _, mirrored = key.partition("-")
        sample = read_sample(source, int(number), run.data)
        image = sample.image.flip(-1) if mirrored else sample.image
        states = [s.half().float() for s in invented_states([caption])]
        found = model.encode(to_unit(image[None]), TextCondition.pad(states))
        if found.codes is None:
            torch.testing.assert_close(batch.latents[row], found.latents[0], atol=5e-3, rtol=5e-3)
        else:
            assert torch.equal(batch.codes[row], found.codes[0])
        assert torch.equal(batch.text[row], states[0]) and batch.labels[row] == int(number) % 4
        form = next(f for f in run.captions if caption_in_form(sample.captions[0], f) == caption)
        seen.add((key, form))
    assert len(seen) == 4 * COUNT


def test_without_text_only_the_states_are_missing(run: CachingRun, tmp_path: Path) -> None:
    cache_latents(run, tmp_path / "with")
    cache_latents(replace(run, text=False), tmp_path / "without")
    rows = range(2 * COUNT)
    full, bare = (LatentCache.open(tmp_path / name) for name in ("with", "without"))
    a, b = full.batch(rows), bare.batch(rows)
    assert (a.keys, a.captions) == (b.keys, b.captions) and torch.equal(a.latents, b.latents)
    assert torch.equal(a.labels, b.labels) and full.class_captions() == bare.class_captions()
    assert {len(states) for states in b.text} == {0} and all(len(states) for states in a.text)
    with pytest.raises(ValueError, match=r"text.*None.*False"):
        cache_latents(replace(run, text=False), tmp_path / "with")
    with pytest.raises(ValueError, match=r"text.*False.*None"):
        cache_latents(run, tmp_path / "without")


def die_after(patch: pytest.MonkeyPatch, shards: int) -> None:
    """Break off when so many shards are written, before the next is vouched for."""
    write, left = caching.write_json, [shards]

    def written(path: Path, data: Any) -> None:
        if left[0] == 0:
            raise MemoryError
        left[0] -= 1
        write(path, data)

    patch.setattr(caching, "write_json", written)


def test_a_killed_run_goes_on_at_the_first_missing_shard(run: CachingRun, tmp_path: Path) -> None:
    cache_latents(run, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        die_after(patch, 2)
        with pytest.raises(MemoryError):
            cache_latents(run, tmp_path / "parts")
    with pytest.raises(ValueError, match="not finished"):
        LatentCache.open(tmp_path / "parts")
    before = {path.name: path.stat().st_ino for path in (tmp_path / "parts").glob("*.safetensors")}
    cache_latents(run, tmp_path / "parts")
    after = {path.name: path.stat().st_ino for path in (tmp_path / "parts").glob("*.safetensors")}
    kept = [name for name in before if after[name] == before[name]]
    assert kept[:2] == sorted(before)[:2] and len(after) == 4
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


def test_a_stopped_run_leaves_at_once_and_goes_on(
    run: CachingRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_latents(run, tmp_path / "whole")
    encode, calls = TexTok.encode, []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:  # of the second shard, its first batch
            os.kill(os.getpid(), signal.SIGINT)
        return encode(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(TexTok, "encode", interrupted)
        assert cache_latents(run, tmp_path / "parts") is None
    assert len(calls) == 6, "the batch's other caption form, and no further batch"
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) == 1
    assert cache_latents(run, tmp_path / "parts").complete
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


def test_a_damaged_shard_is_made_anew(
    run: CachingRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache_latents(run, tmp_path / "out")
    whole = contents(tmp_path / "out")
    (tmp_path / "out/latents-00001.safetensors").write_bytes(b"cut")
    (tmp_path / "out/latents-00003.safetensors").unlink()
    cache_latents(run, tmp_path / "out")
    told = [line for line in capsys.readouterr().err.splitlines() if "made again" in line]
    assert len(told) == 2 and "latents-00001.safetensors: cut off" in told[0] and "00003" in told[1]
    assert contents(tmp_path / "out") == whole


def test_another_cache_or_other_files_are_refused(run: CachingRun, tmp_path: Path) -> None:
    cache_latents(replace(run, limit=3), tmp_path / "out")
    for other, told in (
        (replace(run, limit=3, flip=True), "flip was False, is True"),
        (
            replace(run, limit=4, captions=("given",)),
            r"captions was \['given', 'thing'\], is \['given'\]; limit",
        ),
        (replace(run, limit=3, data=replace(run.data, split="torn")), "split was 'train', is 'torn'"),
    ):
        with pytest.raises(ValueError, match=told):
            cache_latents(other, tmp_path / "out")
    saved_tokenizer(tmp_path / "other", AEConfig(latent_dim=4))
    with pytest.raises(ValueError, match="tokenizer was"):
        cache_latents(replace(run, limit=3, tokenizer=str(tmp_path / "other")), tmp_path / "out")
    with pytest.raises(ValueError, match="not empty"):
        cache_latents(run, tmp_path)
    shutil.copytree(run.data.source, tmp_path / "moved")
    moved = replace(run, limit=3, data=replace(run.data, source=str(tmp_path / "moved")))
    assert cache_latents(moved, tmp_path / "out").complete


def test_settings_that_make_no_sense() -> None:
    data = DataConfig(source="nowhere")
    for wrong in ({"captions": ()}, {"captions": ("thing", "thing")}, {"limit": 0}):
        with pytest.raises(ValueError, match=r"^(captions|limit):"):
            CachingRun(tokenizer="icons-128", data=data, **wrong)


def test_bad_pictures_follow_the_policy(
    run: CachingRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = replace(run, data=replace(run.data, split="torn"))
    with pytest.raises(BadSampleError, match="sample '04' in"):
        cache_latents(torn, tmp_path / "out")
    torn = replace(torn, data=replace(torn.data, on_bad="skip"))
    manifest = cache_latents(torn, tmp_path / "out")
    assert capsys.readouterr().err.count("left out") == 3
    assert (manifest.pictures, manifest.rows) == (7, 14)
    assert [shard["rows"] for shard in manifest.shards] == [6, 4, 4, 0], "a shard may have no usable picture"
    whole = LatentCache.open(tmp_path / "out").batch(range(14))
    assert sorted(set(whole.keys)) == ["00", "01", "02", "03", "05", "06", "07"]


def test_no_usable_picture(run: CachingRun, tmp_path: Path, write_tar: Callable[..., Path]) -> None:
    tar = write_tar(tmp_path / "bad.tar", {"a.png": b"none", "a.json": b'{"caption": "a"}'})
    data = replace(run.data, source=str(tar), split=None, on_bad="skip")
    with pytest.raises(ValueError, match="no usable picture"):
        cache_latents(replace(run, data=data), tmp_path / "out")


# --- ranks ----------------------------------------------------------------------------------------------


def cache_on_rank(rank: int, port: int, run: CachingRun, out: Path) -> None:
    torch.set_num_threads(1)
    CachedText._encoder = lambda text: invented_states
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    cache_latents(run, out, rank=rank, world=2)
    dist.destroy_process_group()


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_two_ranks_write_what_one_writes(run: CachingRun, tmp_path: Path) -> None:
    cache_latents(run, tmp_path / "alone")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(cache_on_rank, args=(port, run, tmp_path / "shared"), nprocs=2)
    assert contents(tmp_path / "alone") == contents(tmp_path / "shared")
