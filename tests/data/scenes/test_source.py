"""The sources ``scenes`` and ``icons``: the same everywhere, split by split, through both loaders."""

import hashlib
import json
import tarfile
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import DatasetCard

from textok.cli import main
from textok.data import DataConfig, EvalLoader, TrainLoader, open_source
from textok.data.scenes.drawings import SPLITS, Drawings
from textok.data.scenes.facts import Facts
from textok.data.scenes.source import LENGTHS, SceneOptions, SceneSource

FOLDER = Path("datasets/drawings-rgba")


def config(**options) -> DataConfig:
    return DataConfig(**{"source": "scenes", "split": "test-drawing", "size": (64, 64), **options})


@pytest.fixture(scope="module")
def source() -> SceneSource:
    return SceneSource("test-drawing", SceneOptions())


def test_facts_and_captions_are_the_same_on_every_machine(source):
    digest = hashlib.sha256()
    for index in range(100):
        sample = source.read(index)
        digest.update(sample.facts.encode() + sample.captions[0].encode())
    assert digest.hexdigest()[:16] == "2f2dcfbb520867ba"


def test_pictures_are_the_same_on_every_machine(source):
    means = [source.draw(index, 64).double().mean().item() for index in range(6)]
    assert means == pytest.approx([106.292, 52.121, 180.814, 158.185, 193.703, 177.446], abs=0.5)


def test_no_order_matters(source):
    forwards = [source.read(index).captions for index in range(5)]
    assert [source.read(index).captions for index in reversed(range(5))] == forwards[::-1]
    assert torch.equal(source.draw(3, 64), SceneSource("test-drawing", SceneOptions()).draw(3, 64))


def test_no_drawing_is_in_two_splits():
    keys = [set(pq.read_table(FOLDER / f"{s}.parquet", columns=["key"])["key"].to_pylist()) for s in SPLITS]
    assert sum(map(len, keys)) == len(set().union(*keys)) == 16_631


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.slow
def test_scenes_of_a_split_show_its_drawings_only(split):
    source = SceneSource(split, SceneOptions())
    own = {drawing.key for drawing in source.drawings.rows}
    assert len(source) == LENGTHS[split]
    for index in (0, 7, len(source) - 1):
        assert {thing.drawing for thing in source.facts(index).things} <= own


def test_densities_and_seeds_change_what_they_say(source):
    dense, other = (open_source(name, "test-drawing") for name in ("scenes:dense", "scenes:seed=1"))
    assert dense.read(4).facts == source.read(4).facts != other.read(4).facts
    assert all(len(dense.read(i).captions[0].split()) >= 40 for i in range(20))
    few = open_source("scenes:name,max_drawings=1", "test-drawing")
    assert all(len(Facts.from_json(few.read(i).facts).things) == 1 for i in range(20))
    assert len({s.fingerprint for s in (source, dense, other, few)}) == 4


def test_evaluation_reads_all_in_order(source):
    loader = EvalLoader(config(), batch_size=20)
    batches = list(islice(loader, 2))
    assert len(loader) == 50
    assert batches[1].captions[0] == source.read(20).captions[0]
    assert batches[0].captions[3] == source.read(3).captions[0]
    assert torch.equal(batches[0].images[3], source.draw(3, 64))
    assert json.loads(batches[0].facts[3]) == json.loads(source.read(3).facts)


@pytest.mark.slow
def test_training_goes_on_where_it_stopped_with_any_workers():
    loader = TrainLoader(config(split="train"), batch_size=4, seed=3)
    next(loader)
    state = loader.state_dict()
    expected = [next(loader) for _ in range(2)]
    again = TrainLoader(config(split="train", workers=1), batch_size=4, seed=3)
    again.load_state_dict(json.loads(json.dumps(state)))
    for batch in expected:
        other = next(again)
        assert other.keys == batch.keys and other.captions == batch.captions
        assert torch.equal(other.images, batch.images)
    again.close()


@pytest.mark.slow
def test_ranks_read_different_scenes():
    ranks = [TrainLoader(config(split="train"), batch_size=4, rank=rank, world=2) for rank in range(2)]
    whole = TrainLoader(config(split="train"), batch_size=8)
    assert [*next(ranks[0]).keys, *next(ranks[1]).keys] == next(whole).keys


@pytest.mark.slow
def test_icons_are_those_of_the_published_set():
    stored = EvalLoader(DataConfig(source="datasets/icons-128", split="test-drawing"), batch_size=64)
    drawn = EvalLoader(DataConfig(source="icons", split="test-drawing"), batch_size=64)
    for old, new in list(zip(stored, drawn, strict=True))[:2]:
        assert new.keys == old.keys
        assert new.captions == old.captions
        difference = (new.images.float() - old.images.float()).square().mean((1, 2, 3))
        assert (10 * torch.log10(255**2 / difference)).mean() > 27


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("scenes:long", "density"), ("scenes:sed=1", "sed"), ("scenes:seed=x", "seed"),
        ("scenes:max_drawings=9", "max_drawings"), ("icons:dense=1", "dense"),
    ],
)  # fmt: skip
def test_wrong_options_are_named(name, key):
    with pytest.raises(ValueError, match=key):
        open_source(name, "val")


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="split"):
        open_source("scenes", "test")


@pytest.mark.parametrize("size", [(64, 96), (32, 32)])
def test_a_wrong_size_is_named(size):
    with pytest.raises(ValueError, match="size"):
        next(iter(EvalLoader(config(size=size), batch_size=1)))


def test_missing_drawings_are_said_where_to_get(tmp_path):
    with pytest.raises(FileNotFoundError, match="drawings=FOLDER"):
        open_source(f"scenes:drawings={tmp_path / 'none'}", "val")
    with pytest.raises(FileNotFoundError, match=r"val\.parquet"):
        Drawings(tmp_path, "val")


def test_decoded_pixels_are_bounded(monkeypatch, source):
    monkeypatch.setattr("textok.data.scenes.drawings.CACHE_BYTES", 3 * 4 * 64**2)
    drawings = Drawings(FOLDER, "test-drawing")
    for place in range(10):
        drawings.image(place, 64)
    assert len(drawings._cache) == 3
    assert np.array_equal(drawings.image(0, 64), source.drawings.image(0, 64))


def test_the_command_writes_tars_that_read_back_and_goes_on(tmp_path, source, capsys):
    words = ["scenes", "--out", str(tmp_path / "out"), "--split", "test-drawing", "--size", "64"]
    page = tmp_path / "page.html"
    assert main([*words, "--count", "5", "--page", str(page)]) == 0
    batch = next(iter(EvalLoader(DataConfig(source=str(tmp_path / "out"), size=(64, 64)), batch_size=5)))
    assert batch.captions == [source.read(i).captions[0] for i in range(5)]
    assert torch.equal(batch.images[2], source.draw(2, 64))
    assert [Facts.from_json(facts) for facts in batch.facts] == [source.facts(i) for i in range(5)]
    assert page.read_text().count("<b>dense</b>") == 5
    [tar] = (tmp_path / "out").glob("*.tar")
    with tarfile.open(tar) as shard:
        assert sorted(Path(name).suffix for name in shard.getnames()[:3]) == [".json", ".txt", ".webp"]
    card = DatasetCard((tmp_path / "out/README.md").read_text())  # as the hub reads it
    assert card.data.configs == [{"config_name": "default", "data_files": "test-drawing-*.tar"}]
    assert "5 captioned pictures of 64 px" in card.text
    before = tar.stat().st_mtime_ns
    assert main([*words, "--count", "5"]) == 0
    assert tar.stat().st_mtime_ns == before
    assert main([*words, "--count", "6"]) == 0
    with tarfile.open(tar) as shard:
        assert len(shard.getnames()) == 18


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (["--size", "32"], "size"),
        (["--count", "501"], "count"),
        (["--count=1", "--max-drawings=5"], "max_drawings"),
    ],
)
def test_wrong_options_of_the_command_are_named(tmp_path, capsys, options, key):
    assert main(["scenes", "--out", str(tmp_path / "out"), "--split", "val", *options]) == 2
    assert key in capsys.readouterr().err


def test_a_folder_of_other_scenes_is_left_alone(tmp_path, capsys):
    words = ["scenes", "--out", str(tmp_path / "out"), "--split", "test-drawing", "--count", "1"]
    assert main([*words, "--size", "64"]) == 0
    assert main([*words, "--size", "65"]) == 2
    assert "out" in capsys.readouterr().err


@pytest.mark.slow
def test_a_counted_split_is_a_set_like_any_other():
    counted = open_source("scenes:count=12", "train")
    loader = TrainLoader(config(source="scenes:count=12", split="train"), batch_size=4)
    keys = [key for _ in range(3) for key in next(loader).keys]
    assert sorted(keys) == [counted.read(index).key for index in range(12)]
    assert keys != sorted(keys)
    assert counted.max_window is None and open_source("scenes", "train").max_window == 0
