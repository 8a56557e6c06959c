"""Folders of classes, those of Places365 among them, made of a few photographs."""

from pathlib import Path

import pytest

from textok.data import DataConfig, EvalLoader, open_source
from textok.data.records import Fields
from textok.data.samples import RawSample
from textok.data.sources.lists import class_caption

PHOTOS = Path(__file__).parents[2] / "datasets" / "photos-256"
CLASSES = ["/a/airfield", "/a/art_gallery", "/b/bus_station/indoor"]
CAPTIONS = ["airfield", "art gallery", "bus station indoor"]


@pytest.fixture(scope="module")
def photos() -> list[RawSample]:
    source = open_source(PHOTOS)
    return [source.read(i) for i in (0, 70, 140)]


def write_tree(root: Path, photos: list[RawSample], classes: list[str]) -> None:
    for name, photo in zip(classes, photos, strict=True):
        folder = root / name.lstrip("/")
        folder.mkdir(parents=True)
        (folder / "00000001.jpg").write_bytes(photo.image)


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("/a/art_gallery", "art gallery"),
        ("art_gallery", "art gallery"),
        ("/a/apartment_building/outdoor", "apartment building outdoor"),
        ("apartment_building-outdoor", "apartment building outdoor"),
        ("x", "x"),
    ],
)
def test_class_names_become_captions(name: str, caption: str) -> None:
    assert class_caption(name) == caption


@pytest.mark.parametrize("classes", [CLASSES, ["airfield", "art_gallery", "bus_station-indoor"]])
def test_a_tree_of_class_folders(classes: list[str], tmp_path: Path, photos: list[RawSample]) -> None:
    write_tree(tmp_path / "val", photos, classes)
    for source in (open_source(tmp_path, "val"), open_source(tmp_path / "val")):
        samples = [source.read(i) for i in range(len(source))]
        assert [sample.image for sample in samples] == [photo.image for photo in photos]
        assert [sample.captions for sample in samples] == [(caption,) for caption in CAPTIONS]
        assert [sample.label for sample in samples] == [0, 1, 2]
        assert [sample.key for sample in samples] == [f"{name.lstrip('/')}/00000001" for name in classes]


def test_splits_of_a_tree_are_no_classes(tmp_path: Path, photos: list[RawSample]) -> None:
    write_tree(tmp_path / "val", photos, CLASSES)
    write_tree(tmp_path / "train", photos, CLASSES)
    source = open_source(tmp_path)
    samples = [source.read(i) for i in range(6)]
    assert list(source.splits) == ["train", "val"] and [s.label for s in samples] == [0, 1, 2, 0, 1, 2]
    assert {s.captions for s in samples} == {(caption,) for caption in CAPTIONS}
    with pytest.raises(ValueError, match="no fields"):
        open_source(tmp_path, "val", fields=Fields(label="class"))


def test_a_tree_in_batches(tmp_path: Path, photos: list[RawSample]) -> None:
    write_tree(tmp_path, photos, CLASSES)
    [batch] = EvalLoader(DataConfig(source=str(tmp_path), size=(64, 64)), batch_size=8)
    assert batch.captions == CAPTIONS and batch.labels is not None and batch.labels.tolist() == [0, 1, 2]


def test_pictures_in_no_class_folder_have_no_caption(tmp_path: Path, photos: list[RawSample]) -> None:
    write_tree(tmp_path, photos, CLASSES)
    (tmp_path / "b.jpg").write_bytes(photos[0].image)
    source = open_source(tmp_path)
    samples = [source.read(i) for i in range(len(source))]
    expected = {"b", *(f"{name.lstrip('/')}/00000001" for name in CLASSES)}
    assert {sample.key for sample in samples} == expected
    assert {(sample.captions, sample.label) for sample in samples} == {((), None)}
    assert list(source.captions()) == []
