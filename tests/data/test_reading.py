"""Kinds of sources that people have: each is read whole or says what it passes over, and the census adds up."""

import codecs
import io
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from textok.data import BadSampleError, DataConfig, EvalLoader, RawSample, Source, open_source
from textok.data.files import Census, expand_braces
from textok.data.images import ImageError, decode_image, is_animated, save_png
from textok.data.samples import write_bad
from textok.writing import mark_folder


def encoded(number: int = 0, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 10), (number, 2 * number, 200)).save(buffer, kind, **options)
    return buffer.getvalue()


def put(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def samples(source: Source) -> list[RawSample]:
    return [source.read(i) for i in range(len(source))]


def total(source: Source) -> int:
    census = source.census
    return census.read + census.beside + sum(census.passed.values())


def captions(root: str | Path, split: str | None = None) -> dict[str, tuple[str, ...]]:
    """Captions by key, after the census was compared with what is in the folder."""
    source = open_source(root, split)
    if Path(root).is_dir() and split is None:
        assert total(source) == sum(len(files) for _, _, files in os.walk(root))
    found = samples(source)
    assert len({sample.key for sample in found}) == len(found)
    return {sample.key: sample.captions for sample in found}


def reasons(root: Path) -> dict[str, int]:
    return dict(open_source(root).census.passed)


def test_suffixes_of_browsers_phones_and_cameras(tmp_path: Path) -> None:
    names = {
        "0.jfif": "JPEG",
        "1.jpe": "JPEG",
        "2.JPG": "JPEG",
        "3.ppm": "PPM",
        "4.tga": "TGA",
        "5.jp2": "JPEG2000",
    }
    for name, kind in names.items():
        put(tmp_path, {name: encoded(kind=kind), f"{name[0]}.TXT": "x", "clip.mp4": b"", "d/Thumbs.db": b""})
    assert captions(tmp_path) == {name[0]: ("x",) for name in names}
    assert reasons(tmp_path) == {"other files": 1, "left by systems": 1}
    config = DataConfig(source=str(tmp_path), size=(8, 8))
    assert sum(len(batch) for batch in EvalLoader(config, batch_size=4)) == len(names)


@pytest.mark.parametrize("suffix", [".txt", ".TXT", ".caption", ".Caption"])
def test_a_text_beside_a_picture_beats_the_name_of_its_folder(suffix: str, tmp_path: Path) -> None:
    files = {
        "train/10_mydog dog/a.png": encoded(),
        f"train/10_mydog dog/a{suffix}": "a dog",
        "val/1_x/b.png": encoded(),
    }
    assert captions(put(tmp_path, files)) == {"train/10_mydog dog/a": ("a dog",), "val/1_x/b": ()}
    assert list(open_source(tmp_path).splits) == ["train", "val"]
    (tmp_path / "train/10_mydog dog" / f"a{suffix}").unlink()
    assert set(captions(tmp_path).values()) == {("mydog dog",), ("x",)}
    assert open_source(tmp_path).census.notes


def test_names_are_compared_without_case_last(tmp_path: Path) -> None:
    files = {
        "IMG_1.JPG": encoded(kind="JPEG"),
        "img_1.txt": "one",
        "b.png": encoded(),
        "B.png": encoded(1),
        "B.txt": "B",
    }
    found = captions(put(tmp_path, files))
    assert found == {"IMG_1": ("one",), "b": (), "B": ("B",)}


def test_what_is_left_over_is_counted(tmp_path: Path) -> None:
    files = {
        "a.png": encoded(),
        "a.txt": "a",
        "a.caption": "other",
        "gone.txt": "x",
        "notes.doc": b"",
        "x.json": "{}",
    }
    assert captions(put(tmp_path, files)) == {"a": ("a",)}
    assert reasons(tmp_path) == {
        "second captions of the same picture": 1,
        "texts without a picture": 1,
        "other files": 2,
    }
    assert "notes.doc" in str(open_source(tmp_path).census)


@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-mark"])
def test_a_mark_says_the_encoding(code: str, tmp_path: Path) -> None:
    def text(words: str) -> bytes:
        return (
            codecs.BOM_UTF16_BE + words.encode("utf-16-be") if code.endswith("mark") else words.encode(code)
        )

    put(tmp_path / "side", {"a.png": encoded(), "a.txt": text("ein Küken 🐥")})
    put(
        tmp_path / "meta",
        {"a.png": encoded(), "metadata.jsonl": text('{"file_name": "a.png", "text": "ein Küken 🐥"}\n')},
    )
    put(tmp_path / "csv", {"a.png": encoded(), "metadata.csv": text("file_name,text\na.png,ein Küken 🐥\n")})
    for form in ("side", "meta", "csv"):
        assert captions(tmp_path / form) == {"a": ("ein Küken 🐥",)}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("1.txt", "café\u2019s".encode("cp1252")),
        ("metadata.jsonl", '{"file_name": "0.png"}\n{"file_name": "1.png", "text": "caf\\ud83d"}\n'),
        ("1.json", b'{"caption": "\xe9"}'),
    ],
)
def test_text_that_is_not_unicode_is_a_bad_sample(name: str, content: bytes | str, tmp_path: Path) -> None:
    put(tmp_path, {"0.png": encoded(), "1.png": encoded(), name: content})
    source = open_source(tmp_path)
    assert source.read(0).key == "0" and list(source.captions()) == []
    with pytest.raises(BadSampleError, match=r"'1'"):
        source.read(1)
    config = DataConfig(source=str(tmp_path), size=(8, 8), on_bad="skip", require_captions=False)
    loader = EvalLoader(config, batch_size=2)
    assert [batch.keys for batch in loader] == [["0"]]
    write_bad(tmp_path, loader.bad.samples)
    assert [json.loads(line)["key"] for line in (tmp_path / "bad.jsonl").read_text().splitlines()] == ["1"]


def test_a_file_name_in_another_encoding_stays_readable_and_apart(tmp_path: Path) -> None:
    for name in (b"caf\xe9", b"caf\xe8"):
        with open(os.fsencode(tmp_path) + b"/" + name + b".png", "wb") as file:
            file.write(encoded())
    assert set(captions(tmp_path)) == {"caf\\xe9", "caf\\xe8"}


def test_one_name_twice_gives_two_keys(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "apple.png": encoded(),
            "apple.jpg": encoded(kind="JPEG"),
            "apple.txt": "an apple",
            "pear.png": encoded(),
        },
    )
    assert captions(tmp_path) == {"apple.png": ("an apple",), "apple.jpg": ("an apple",), "pear": ()}


def test_several_lines_of_one_picture_are_several_captions(tmp_path: Path) -> None:
    lines = [json.dumps({"file_name": f"{n % 2}.png", "text": f"way {n}", "label": n % 2}) for n in range(5)]
    put(tmp_path, {"0.png": encoded(), "1.png": encoded(), "metadata.jsonl": "\n".join(lines)})
    assert captions(tmp_path) == {"0": ("way 0", "way 2", "way 4"), "1": ("way 1", "way 3")}
    assert open_source(tmp_path).read(1).label == 1


def test_what_systems_leave_is_no_picture(tmp_path: Path) -> None:
    left = [
        "._a.png",
        "__MACOSX/._a.png",
        ".DS_Store",
        ".ipynb_checkpoints/a.png",
        "@eaDir/a.png/THUMB.jpg",
        "d/Thumbs.db",
    ]
    put(tmp_path, {"a.png": encoded(), **dict.fromkeys(left, encoded())})
    assert captions(tmp_path) == {"a": ()}
    assert reasons(tmp_path) == {"left by systems": len(left)}


def test_a_stray_file_named_like_coco_captions_does_not_take_over(tmp_path: Path) -> None:
    put(
        tmp_path,
        {"a/0.png": encoded(), "a/0.txt": "a red square", "captions-mine.json": '{"0": "a red square"}'},
    )
    assert captions(tmp_path) == {"a/0": ("a red square",)}
    assert reasons(tmp_path) == {"other files": 1}


def test_json_beside_pictures(tmp_path: Path) -> None:
    for number in range(2):
        record = {"caption": f"number {number}", "url": "https://example.org", "label": number}
        put(tmp_path, {f"{number}.jpg": encoded(kind="JPEG"), f"{number}.json": json.dumps(record)})
    assert captions(tmp_path) == {"0": ("number 0",), "1": ("number 1",)}


@pytest.mark.parametrize(
    "table",
    [
        {"metadata.csv": 'file_name,caption\n"a, b.png","one, two"\nc.png,\n'},
        {"metadata.tsv": "file_name\tcaption\na, b.png\tone, two\nc.png\t\n"},
        {"captions.csv": 'image,caption\n"a, b.png","one, two"\nc.png,\n'},
    ],
)
def test_tables_of_captions(table: dict[str, str], tmp_path: Path) -> None:
    put(tmp_path, {"a, b.png": encoded(), "c.png": encoded(), "unlisted.png": encoded(), **table})
    assert captions(tmp_path) == {"a, b": ("one, two",), "c": ()}
    assert reasons(tmp_path) == {"pictures that no list names": 1}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a-{000..002}.tar", ["a-000.tar", "a-001.tar", "a-002.tar"]),
        ("{train,val}/{1..2}", ["train/1", "train/2", "val/1", "val/2"]),
        ("a.tar", ["a.tar"]),
    ],
)
def test_brace_notation(pattern: str, expected: list[str]) -> None:
    assert expand_braces(pattern) == expected


def test_shards_by_brace_notation(tmp_path: Path, write_tar: Callable[..., Path]) -> None:
    for number in range(3):
        write_tar(tmp_path / f"train-{number:06d}.tar", {f"{number}.png": encoded()})
    assert set(captions(f"{tmp_path}/train-{{000000..000001}}.tar")) == {"0", "1"}


def test_the_form_with_most_pictures_is_read(tmp_path: Path, write_tar: Callable[..., Path]) -> None:
    put(tmp_path, {f"{n}.png": encoded(n) for n in range(3)})
    write_tar(tmp_path / "stray.tar", {"x.png": encoded()})
    (tmp_path / "broken.tar").write_bytes(b"no tar")
    pq.write_table(pa.table({"image": [encoded()] * 2}), tmp_path / "few.parquet")
    assert set(captions(tmp_path)) == {"0", "1", "2"}
    assert reasons(tmp_path) == {"tars beside pictures": 2, "parquet files beside pictures": 1}
    (tmp_path / "broken.tar").unlink()
    write_tar(tmp_path / "stray.tar", {f"in{n}.png": encoded() for n in range(4)})
    source = open_source(tmp_path)
    assert len(source) == 4 and reasons(tmp_path)["pictures beside tars"] == 3


def test_a_broken_tar_among_others_stops_or_is_counted(
    tmp_path: Path, write_tar: Callable[..., Path]
) -> None:
    write_tar(tmp_path / "0.tar", {"a.png": encoded()})
    (tmp_path / "1.tar").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="git-lfs"):
        open_source(tmp_path)
    source = open_source(tmp_path, on_bad="skip")
    assert len(source) == 1 and "1.tar" in str(source.census)


def test_pages_and_runs_of_textok_are_no_pictures(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "a.png": encoded(),
            "grid.png": encoded(),
            "run/grids/step-1.png": encoded(),
            "old/b.png": encoded(),
        },
    )
    put(
        tmp_path,
        {"run/run.json": '{"environment": {"libraries": {"open-textok": "0"}}}', "run/x.png": encoded()},
    )
    assert set(captions(tmp_path)) == {"a", "grid", "old/b"}
    save_png(Image.new("RGB", (9, 9)), tmp_path / "grid.png", page=True)
    save_png(Image.new("RGB", (9, 9)), tmp_path / "sheet.png", page=True)
    save_png(Image.new("RGB", (9, 9)), tmp_path / "b.png")
    mark_folder(tmp_path / "old", "decoded pictures")
    assert set(captions(tmp_path)) == {"a", "b", "sheet"}
    assert reasons(tmp_path)["written by textok"] == 6
    with pytest.raises(ImageError, match="grid or report"):
        decode_image((tmp_path / "sheet.png").read_bytes(), (8, 8))
    assert set(captions(tmp_path / "old")) == {"b"}


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid", "git-lfs pointer"),
        (b"\n <!DOCTYPE html><html>", "web page"),
        (b"", "empty"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (encoded(kind="JPEG")[:200], "unreadable picture"),
    ],
)
def test_what_is_no_picture_is_called_what_it_is(head: bytes, name: str) -> None:
    with pytest.raises(ImageError, match=name):
        decode_image(head, (8, 8))


def test_the_colour_profile_is_applied() -> None:
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    places = {
        bytes(profile[at : at + 4]): at
        for at in range(132, 132 + 12 * struct.unpack(">I", profile[128:132])[0], 12)
    }
    for tag, at in ((b"bXYZ", places[b"rXYZ"]), (b"rXYZ", places[b"bXYZ"])):
        profile[at : at + 4] = tag
    plain = encoded(40)
    assert (
        decode_image(encoded(40, icc_profile=bytes(profile)), (8, 8)) == decode_image(plain, (8, 8)).flip(0)
    ).all()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for harmless in (srgb, b"damaged"):
        assert (decode_image(encoded(40, icc_profile=harmless), (8, 8)) == decode_image(plain, (8, 8))).all()


def test_a_tiff_with_odd_tags_is_read_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(encoded(kind="TIFF", compression="tiff_lzw"))
    with pytest.raises(ImageError):
        decode_image(bytes(data[:-40]) + bytes(20), (8, 8))
    decode_image(bytes(data), (8, 8))
    assert capfd.readouterr().err == ""


def test_an_animation_is_known_as_one() -> None:
    frames = [Image.new("RGB", (8, 8), (n, 0, 0)) for n in (0, 99, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert is_animated(buffer.getvalue()) and not is_animated(encoded())


@pytest.fixture
def memory() -> Any:
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def test_an_address_is_read_like_a_folder(
    memory: Any, tmp_path: Path, write_tar: Callable[..., Path]
) -> None:
    local = put(tmp_path / "set", {"train/a.png": encoded(), "train/a.txt": "a cat", "val/b.png": encoded(1)})
    write_tar(tmp_path / "x.tar", {"t.png": encoded(2), "t.txt": b"in a tar"})
    pq.write_table(pa.table({"image": [encoded(3)], "text": ["in a table"]}), tmp_path / "x.parquet")
    for path in (*local.rglob("*.*"), tmp_path / "x.tar", tmp_path / "x.parquet"):
        memory.pipe(f"/top/{path.relative_to(tmp_path)}", path.read_bytes())
    assert captions("memory://top/set") == captions(local) == {"train/a": ("a cat",), "val/b": ()}
    assert captions("memory://top/set", "train") == {"a": ("a cat",)}
    assert captions("memory://top/x.tar") == captions("memory://top/*.tar") == {"t": ("in a tar",)}
    assert list(captions("memory://top/x.parquet").values()) == [("in a table",)]
    assert captions(f"file://{local}") == captions(local)
    assert samples(open_source("memory://top/x.tar"))[0].image == encoded(2)
    with pytest.raises(FileNotFoundError, match="memory://top/nothing"):
        open_source("memory://top/nothing*.tar")


def test_the_same_names_and_sizes_with_other_content_are_another_data_set(
    tmp_path: Path, write_tar: Callable[..., Path]
) -> None:
    put(tmp_path / "set", {"a.bmp": encoded(1, "BMP"), "a.txt": "one"})
    before = open_source(tmp_path / "set").fingerprint
    assert open_source(tmp_path / "set").fingerprint == before
    put(tmp_path / "set", {"a.txt": "two"})
    assert open_source(tmp_path / "set").fingerprint != before


def test_the_census_is_one_line_and_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, {"a.png": encoded(), "b.mp4": b"", "c.mp4": b""})
    for _ in range(2):
        DataConfig(source=str(tmp_path)).open()
    assert capsys.readouterr().err.count("\n") == 1
    census = open_source(tmp_path).census
    assert census.facts()["passed_over"] == {"other files": {"count": 2, "first": ["b.mp4", "c.mp4"]}}
    assert str(Census(**json.loads(json.dumps(vars(census))))) == str(census)


def test_keys_of_a_table_are_unique(tmp_path: Path) -> None:
    columns = {"image": [encoded()] * 3, "key": ["a", "b", "a"]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    assert list(captions(tmp_path / "x.parquet")) == ["a-00000000", "b", "a-00000002"]


def test_links_are_followed_once_and_broken_ones_named(tmp_path: Path) -> None:
    put(tmp_path / "set", {"a.png": encoded()})
    (tmp_path / "set" / "again").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "b.png").symlink_to(tmp_path / "gone.png")
    source = open_source(tmp_path / "set")
    assert len(source) == 2 and source.read(0).key == "a"
    with pytest.raises(BadSampleError, match=r"'b'.*cannot read"):
        source.read(1)
