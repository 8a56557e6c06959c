"""A split that is held decoded gives the batches of the same split decoded as they come."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from textok.data import Batch, DataConfig, TrainLoader
from textok.data.decoding import decode_split

CPU = torch.device("cpu")


def config(root: object, **changes: object) -> DataConfig:
    return DataConfig(**{"source": str(root), "split": "train", "size": (8, 8), **changes})


def same(a: Batch, b: Batch) -> bool:
    return (a.keys, a.captions, a.facts) == (b.keys, b.captions, b.facts) and torch.equal(a.images, b.images)


def held(config: DataConfig, **changes: int) -> TrainLoader:
    loader = TrainLoader(config, batch_size=4, **changes)
    loader.hold(CPU)
    return loader


@pytest.mark.parametrize("rank", [0, 1])
def test_the_batches_are_those_of_a_loader_that_decodes(make_tars, tmp_path: Path, rank: int):
    source = config(make_tars(9, 8), flip=True, resident=str(tmp_path))
    ordinary = TrainLoader(source, batch_size=4, rank=rank, world=2)
    resident = held(source, rank=rank, world=2)
    assert all(same(next(ordinary), next(resident)) for _ in range(7))


def test_a_saved_position_goes_on_in_either_kind_of_loader(make_tars, tmp_path: Path):
    source = config(make_tars(9), resident=str(tmp_path))
    first = held(source)
    next(first)
    second = TrainLoader(source, batch_size=4)
    second.load_state_dict(first.state_dict())
    assert same(next(second), next(first))


def test_a_bad_sample_is_replaced_as_ever(icons: Path, tmp_path: Path):
    source = config(icons, split="torn", on_bad="skip", max_bad_share=1.0, resident=str(tmp_path))
    ordinary, resident = TrainLoader(source, batch_size=7), TrainLoader(source, batch_size=7)
    resident.hold(CPU)
    assert all(same(next(ordinary), next(resident)) for _ in range(7))
    assert resident.bad.count == ordinary.bad.count == 1


def test_the_file_is_written_once_for_each_split_and_size(make_tars, tmp_path: Path):
    source = config(make_tars(9), resident=str(tmp_path))
    folder = decode_split(source.open(), source, tmp_path)
    before = (folder / "pixels.npy").stat().st_mtime_ns
    assert decode_split(source.open(), source, tmp_path) == folder
    assert (folder / "pixels.npy").stat().st_mtime_ns == before
    smaller = config(source.source, size=(4, 4))
    assert decode_split(smaller.open(), smaller, tmp_path) != folder
    assert not list(tmp_path.rglob("*.tmp"))


def test_workers_write_the_same_file(make_tars, tmp_path: Path):
    source = config(make_tars(300, 40))
    alone = decode_split(source.open(), source, tmp_path / "alone")
    shared = decode_split(source.open(), replace(source, workers=2), tmp_path / "shared")
    for name in ("pixels.npy", "samples.jsonl"):
        assert (alone / name).read_bytes() == (shared / name).read_bytes()


def test_a_full_disk_is_said_before_the_work(make_tars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = config(make_tars(9))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(OSError, match="needs about"):
        decode_split(source.open(), source, tmp_path)


@pytest.mark.slow
def test_pictures_without_end_need_a_number(tmp_path: Path):
    source = DataConfig(source="scenes", split="train", size=(64, 64))
    with pytest.raises(ValueError, match=r"data\.resident: got scenes"):
        decode_split(source.open(), source, tmp_path)
