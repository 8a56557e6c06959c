"""Captions in a file of their own, in every place that takes them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from textok.data import DataConfig
from textok.data.records import read_caption_file

CAPTIONS = {"a": ("first", "second"), "b": ("third",)}


def write(folder: Path, kind: str) -> Path:
    file = folder / f"captions.{kind}"
    flat = [{"key": key, "caption": text} for key, texts in CAPTIONS.items() for text in texts]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(flat), file)
    elif kind == "jsonl":
        file.write_text("".join(f"{json.dumps(row)}\n" for row in flat))
    else:
        file.write_text(json.dumps({"a": ["first", "second"], "b": "third"}))
    return file


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "json"])
def test_each_kind_of_file_gives_the_captions_by_key_in_order(kind, tmp_path):
    assert read_caption_file(write(tmp_path, kind)) == CAPTIONS


def test_a_folder_of_textok_caption_is_read_by_its_table(tmp_path):
    write(tmp_path, "parquet")
    assert read_caption_file(tmp_path) == CAPTIONS


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"caption": "no key"}'),
        ("a.jsonl", '{"key": "a", "caption": 3}'),
        ("a.jsonl", "no json"),
        ("a.json", "[1, 2]"),
        ("a.json", '{"a": 3}'),
        ("a.json", "{"),
        ("a.parquet", "no parquet"),
        ("a.csv", "key,caption"),
    ],
)
def test_anything_else_is_refused_by_the_name_of_the_file(name, content, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=r"captions: got .*a\."):
        read_caption_file(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="captions: got"):
        read_caption_file(tmp_path / "none.parquet")


def test_the_captions_of_a_file_take_the_place_of_those_of_the_source(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for key in ("a", "b", "c"):
        Image.new("RGB", (8, 8)).save(folder / f"{key}.png")
    (folder / "c.txt").write_text("from the folder")
    source = DataConfig(source=str(folder), captions=str(write(tmp_path, "parquet"))).open()
    assert {s.key: s.captions for s in map(source.read, range(3))} == {**CAPTIONS, "c": ()}
    assert list(source.captions()) == ["first", "second", "third"]
    other = DataConfig(source=str(folder), captions=str(write(tmp_path, "json"))).open()
    plain = DataConfig(source=str(folder)).open()
    assert len({source.fingerprint, plain.fingerprint}) == 2
    assert other.fingerprint == source.fingerprint
    assert source.shard_lengths == plain.shard_lengths
