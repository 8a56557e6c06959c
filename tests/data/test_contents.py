"""What data sets are known by: whatever changes, the fast identity sees it, and contents name it."""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from textok.data import DataConfig, EvalLoader
from textok.data.contents import DRAWN, changes, content_of, contents_again, read_contents, shown_changes
from textok.data.sources import open_source

Form = Callable[[Path, str, str], None]
NAMES = ("a", "b", "c")


def picture(colour: str) -> bytes:
    """A bitmap: of the same size whatever it shows."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(stream, "BMP")
    return stream.getvalue()


def folder(root: Path, colour: str, caption: str) -> None:
    for name in NAMES:
        put(root / f"{name}.bmp", picture(colour if name == "b" else "blue"))
        put(root / f"{name}.txt", (caption if name == "b" else "one").encode())


def listed(root: Path, colour: str, caption: str) -> None:
    for name in NAMES:
        put(root / f"{name}.bmp", picture(colour if name == "b" else "blue"))
    rows = [{"file_name": f"{name}.bmp", "text": caption if name == "b" else "one"} for name in NAMES]
    put(root / "metadata.jsonl", "\n".join(map(json.dumps, rows)).encode())


def coco(root: Path, colour: str, caption: str) -> None:
    for name in NAMES:
        put(root / "images" / f"{name}.bmp", picture(colour if name == "b" else "blue"))
    images = [{"id": number, "file_name": f"{name}.bmp"} for number, name in enumerate(NAMES)]
    texts = [{"image_id": number, "caption": (caption, "one")[number != 1]} for number in range(3)]
    put(root / "captions.json", json.dumps({"images": images, "annotations": texts}).encode())


def tar(root: Path, colour: str, caption: str) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in NAMES:
            own = (picture(colour), caption) if name == "b" else (picture("blue"), "one")
            for suffix, data in (("bmp", own[0]), ("txt", own[1].encode())):
                info = tarfile.TarInfo(f"{name}.{suffix}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    put(root / "x-000000.tar", stream.getvalue())


def parquet(root: Path, colour: str, caption: str) -> None:
    images = [picture(colour if name == "b" else "blue") for name in NAMES]
    table = pa.table({"key": NAMES, "image": images, "text": ["one", caption, "one"]})
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="none", write_statistics=False, use_dictionary=False)
    put(root / "x.parquet", stream.getvalue())


def put(path: Path, data: bytes) -> None:
    """Write a file in place, with the time of the year 2001: no program can tell it by size and time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (1e9, 1e9))


FORMS = [folder, listed, coco, tar, parquet]


@pytest.mark.parametrize(
    ("colour", "caption", "what"), [("red", "one", "picture"), ("blue", "two", "captions")]
)
@pytest.mark.parametrize("form", FORMS)
def test_other_content_of_the_same_size_and_time_is_named(
    form: Form, colour: str, caption: str, what: str, tmp_path: Path
) -> None:
    form(tmp_path, "blue", "one")
    source = open_source(tmp_path)
    before, fingerprint = dict(read_contents(source, range(3))), source.fingerprint
    form(tmp_path, colour, caption)
    source = open_source(tmp_path)
    assert source.fingerprint != fingerprint
    [(key, change)] = changes(before, contents_again(before, source)).items()
    assert key.endswith("b") and what in change


@pytest.mark.parametrize("form", FORMS)
def test_a_copy_has_the_same_contents(form: Form, tmp_path: Path) -> None:
    form(tmp_path / "x", "red", "two")
    before = dict(read_contents(open_source(tmp_path / "x"), range(3)))
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    assert len(before) == 3 and changes(before, contents_again(before, open_source(tmp_path / "y"))) == {}


def test_renamed_gone_and_new_pictures_are_named(tmp_path: Path) -> None:
    folder(tmp_path, "red", "two")
    before = dict(read_contents(open_source(tmp_path), range(3)))
    (tmp_path / "b.bmp").rename(tmp_path / "d.bmp")
    source = open_source(tmp_path)
    now = dict(read_contents(source, range(3)))
    assert changes(before, now) == {"b": "is gone", "d": "is new"}
    assert changes(before, contents_again(before, source)) == {"b": "is gone"}


def test_captions_that_swap_are_other_captions(tmp_path: Path) -> None:
    captions = dict(zip(NAMES, ("one", "two", "ten"), strict=True))
    for name, caption in captions.items():
        put(tmp_path / f"{name}.bmp", picture("red"))
        put(tmp_path / f"{name}.txt", caption.encode())
    before = dict(read_contents(open_source(tmp_path), range(3)))
    put(tmp_path / "a.txt", b"two"), put(tmp_path / "b.txt", b"one")
    assert changes(before, contents_again(before, open_source(tmp_path))) == dict.fromkeys(
        "ab", "other captions"
    )


def test_a_broken_picture_has_a_content_and_a_missing_one_has_none(tmp_path: Path) -> None:
    folder(tmp_path, "red", "two")
    put(tmp_path / "a.bmp", b"none")
    (tmp_path / "c.bmp").unlink()
    (tmp_path / "c.bmp").symlink_to("nowhere")
    config = DataConfig(source=str(tmp_path), size=(8, 8), on_bad="skip", bad_grace=9)
    loader = EvalLoader(config, batch_size=2, source=open_source(tmp_path, on_bad="skip"))
    [batch] = loader
    assert loader.contents == list(read_contents(loader.source, range(3)))
    assert dict(loader.contents)["c"] == "" and dict(loader.contents)["a"]
    assert batch.contents == (dict(loader.contents)["b"],)


def test_drawn_pictures_are_known_by_their_settings_alone() -> None:
    source = open_source("scenes:count=2", "val")
    assert content_of(source.read(0)) == DRAWN
    assert shown_changes(changes({"x": DRAWN}, {"x": DRAWN})) == "x: is drawn otherwise"


def test_many_changes_are_counted() -> None:
    before = {str(number): "0" * 32 for number in range(5)}
    assert shown_changes(changes(before, {})) == "0: is gone; 1: is gone; 2: is gone; and 2 more"
