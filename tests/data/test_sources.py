import io
import json
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import datasets
from textok.data import open_source
from textok.data.records import Fields
from textok.data.samples import BadSampleError

COUNT = 7


def encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


PICTURES = [encode(Image.new("RGB", (12, 10), (i, 2 * i, 200))) for i in range(COUNT)]
CAPTIONS = [[f"{i} a", f"{i} b"] for i in range(COUNT)]


def write_tars(root: Path) -> None:
    for shard, numbers in enumerate((range(4), range(4, COUNT))):
        members = {}
        for i in numbers:
            record = json.dumps({"captions": CAPTIONS[i], "label": i}).encode()
            members |= {f"k{i}.png": PICTURES[i], f"k{i}.json": record}
        write_tar(root / f"train-{shard:06d}.tar", members)
    write_tar(root / "val-000000.tar", {"v.png": PICTURES[0], "v.txt": b" a text file \n", "v.cls": b"8"})


def write_metadata(root: Path) -> None:
    (root / "train").mkdir()
    with open(root / "train" / "metadata.jsonl", "w") as file:
        for i in range(COUNT):
            (root / "train" / f"k{i}.png").write_bytes(PICTURES[i])
            record = {"file_name": f"k{i}.png", "captions": CAPTIONS[i], "label": i}
            file.write(json.dumps(record) + "\n\n")


def write_root_metadata(root: Path) -> None:
    write_metadata(root)
    lines = (root / "train" / "metadata.jsonl").read_text().replace('"k', '"train/k')
    (root / "train" / "metadata.jsonl").unlink()
    (root / "metadata.jsonl").write_text(lines + '{"file_name": "val/x.png", "text": "x"}\n')


def table() -> dict[str, list]:
    pictures = [{"bytes": data, "path": None} for data in PICTURES]
    return {
        "key": [f"k{i}" for i in range(COUNT)],
        "image": pictures,
        "captions": CAPTIONS,
        "label": list(range(COUNT)),
    }


def write_parquet(root: Path) -> None:
    (root / "data").mkdir()
    for part, rows in enumerate((slice(0, 3), slice(3, COUNT))):
        columns = {name: values[rows] for name, values in table().items()}
        path = root / "data" / f"train-0000{part}-of-00002.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=2)
    pq.write_table(pa.table({"image": [b"x"]}), root / "data" / "val-00000-of-00001.parquet")


def write_raw_bytes_parquet(root: Path) -> None:
    pq.write_table(pa.table({**table(), "image": PICTURES}), root / "train.parquet")


def write_saved_dataset(root: Path) -> None:
    rows = datasets.Dataset.from_dict(table()).cast_column("image", datasets.Image())
    datasets.DatasetDict({"train": rows, "val": rows.select([0])}).save_to_disk(root)


def write_metadata_csv(root: Path) -> None:
    # a layout that only datasets.load_dataset knows
    (root / "train").mkdir()
    lines = ["file_name,caption,label,key"]
    for i in range(COUNT):
        (root / "train" / f"k{i}.png").write_bytes(PICTURES[i])
        lines.append(f"k{i}.png,{i} a,{i},k{i}")
    (root / "train" / "metadata.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(autouse=True)
def quiet_datasets(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    datasets.disable_progress_bars()


LAYOUTS = [
    write_tars,
    write_metadata,
    write_root_metadata,
    write_parquet,
    write_raw_bytes_parquet,
    write_saved_dataset,
]


@pytest.mark.parametrize("write", [*LAYOUTS, write_metadata_csv])
def test_every_layout_gives_the_same_samples(write, tmp_path):
    write(tmp_path)
    source = open_source(tmp_path, "train")
    captions = [[c[0]] for c in CAPTIONS] if write is write_metadata_csv else CAPTIONS
    samples = [source.read(i) for i in range(len(source))]
    assert [s.image for s in samples] == PICTURES
    assert [list(s.captions) for s in samples] == captions
    assert [s.label for s in samples] == list(range(COUNT))
    assert [s.key.removeprefix("train/") for s in samples] == [f"k{i}" for i in range(COUNT)]
    assert sum(source.shard_lengths) == len(source) == COUNT
    assert list(source.captions()) == [c for some in captions for c in some]
    again = pickle.loads(pickle.dumps(source))
    assert again.read(3) == samples[3] and again.fingerprint == open_source(tmp_path, "train").fingerprint


def test_text_files_beside_pictures(tmp_path):
    (tmp_path / "deep").mkdir()
    for i, name in enumerate(("a.png", "deep/b.png", "deep/c.png")):
        (tmp_path / name).write_bytes(PICTURES[i])
    (tmp_path / "a.txt").write_text(" a cat\n")
    (tmp_path / "deep" / "b.txt").write_text("a dog")
    source = open_source(tmp_path)
    assert [(s.key, s.captions) for s in map(source.read, range(3))] == [
        ("a", ("a cat",)),
        ("deep/b", ("a dog",)),
        ("deep/c", ()),
    ]
    assert list(source.captions()) == ["a cat", "a dog"]
    with pytest.raises(ValueError, match="no fields"):
        open_source(tmp_path, fields=Fields(caption="long"))


def test_tar_with_text_and_class_files(tmp_path):
    write_tars(tmp_path)
    [sample] = [open_source(tmp_path, "val").read(0)]
    assert (sample.key, sample.captions, sample.label) == ("v", ("a text file",), 8)


def test_files_and_globs(tmp_path):
    write_tars(tmp_path)
    assert len(open_source(tmp_path / "train-000001.tar")) == 3
    assert len(open_source(f"{tmp_path}/train-*.tar")) == COUNT
    assert len(open_source(f"{tmp_path}/*.tar")) == COUNT + 1
    with pytest.raises(FileNotFoundError, match=r"nothing-\*.tar"):
        open_source(f"{tmp_path}/nothing-*.tar")


def test_numbered_shards_without_a_split(tmp_path):
    for name in ("00000.tar", "00001.tar"):
        write_tar(tmp_path / name, {"a.png": PICTURES[0]})
    assert len(open_source(tmp_path)) == 2


@pytest.mark.parametrize("write", [write_tars, write_parquet, write_saved_dataset])
def test_no_split_is_all_of_it_and_an_unknown_one_names_the_splits(write, tmp_path):
    write(tmp_path)
    source = open_source(tmp_path)
    assert (len(source), list(source.splits)) == (COUNT + 1, ["train", "val"])
    assert len({source.read(i).key for i in range(COUNT + 1)}) >= COUNT
    with pytest.raises(ValueError, match=r"split is .*expected one of \['train', 'val'\]"):
        open_source(tmp_path, "test")


def test_unknown_layouts_say_what_was_found(tmp_path):
    (tmp_path / "notes.doc").write_text("x")
    for source in (tmp_path, tmp_path / "notes.doc"):
        with pytest.raises(ValueError, match=r"found 1 files \(notes\.doc\)"):
            open_source(source)


def test_columns_by_name(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"photo": PICTURES, "long": ["c"] * COUNT, "caption": ["x"] * COUNT}), path)
    with pytest.raises(ValueError, match=r"no picture column.*'photo'.*image_field"):
        open_source(path)
    with pytest.raises(ValueError, match="no column 'foto'"):
        open_source(path, fields=Fields(image="foto"))
    sample = open_source(path, fields=Fields(image="photo", caption="long")).read(2)
    assert (sample.image, sample.captions, sample.label) == (PICTURES[2], ("c",), None)


def test_broken_parquet(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(ValueError, match=r"x\.parquet:"):
        open_source(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("column", ["image", "text"])
def test_a_parquet_bomb_is_refused_by_its_footer(column, tmp_path, monkeypatch):
    bomb = bytes(65 << 20) if column == "image" else "a" * (65 << 20)
    table = pa.table({"image": [PICTURES[0]], "text": ["a cat"]} | {column: [bomb]})
    pq.write_table(table, tmp_path / "x.parquet", compression="zstd")
    monkeypatch.setattr("textok.data.sources.table._read_row_group", None)
    with pytest.raises(ValueError, match=rf"x\.parquet: column '{column}'"):
        open_source(tmp_path)


def test_parquet_keeps_few_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("textok.data.sources.table.CACHE_BYTES", 1)
    write_parquet(tmp_path)
    source = open_source(tmp_path, "train")
    assert source.max_window == 1 and list(source.shard_lengths) == [2, 1, 2, 2]
    assert [source.read(i).image for i in reversed(range(COUNT))] == PICTURES[::-1]
    assert len(source._cache) == 1


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "", None, 3])
def test_metadata_cannot_leave_its_folder(name, tmp_path):
    (tmp_path / "secret.png").write_bytes(PICTURES[0])
    root = tmp_path / "set"
    root.mkdir()
    (root / "metadata.jsonl").write_text(json.dumps({"file_name": name, "text": "x"}) + "\n")
    with pytest.raises(BadSampleError, match=r"line 1.*expected a file inside the folder"):
        open_source(root).read(0)


def test_table_paths_cannot_leave_their_folder(tmp_path):
    (tmp_path / "secret.png").write_bytes(PICTURES[0])
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "in.png").write_bytes(PICTURES[1])
    cells = [{"bytes": None, "path": name} for name in ("../secret.png", "in.png", "gone.png")]
    pq.write_table(pa.table({"image": cells, "text": ["x"] * 3}), tmp_path / "set" / "train.parquet")
    source = open_source(tmp_path / "set")
    assert source.read(1).image == PICTURES[1]
    for row, reason in ((0, "outside of"), (2, "cannot read")):
        with pytest.raises(BadSampleError, match=reason):
            source.read(row)


def test_malformed_lines_and_missing_files_are_bad_samples(tmp_path):
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "x"}\n{oops\n')
    source = open_source(tmp_path)
    for row, reason in ((0, "'a'.*cannot read"), (1, "'line 2'.*not valid JSON")):
        with pytest.raises(BadSampleError, match=reason):
            source.read(row)
    assert list(source.captions()) == ["x"]


def test_fingerprint_tells_data_apart(tmp_path):
    prints = set()
    for number in (1, 2):
        root = tmp_path / str(number)
        root.mkdir()
        write_tar(root / "train-000000.tar", {f"{i}.png": PICTURES[i] for i in range(number)})
        prints.add(open_source(root).fingerprint)
    assert len(prints) == 2


def test_pictures_are_read_not_decoded(tmp_path, monkeypatch):
    write_saved_dataset(tmp_path)
    monkeypatch.setattr(Image, "open", lambda *a, **k: pytest.fail("a picture was decoded"))
    assert len([open_source(tmp_path, "train").read(i) for i in range(COUNT)]) == COUNT
