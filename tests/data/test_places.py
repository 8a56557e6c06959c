"""Places365 in both its layouts, and class folders in general, made of a few photographs."""

from pathlib import Path

import pytest

from textok.data import DataConfig, EvalLoader, open_source
from textok.data.records import Fields
from textok.data.samples import BadSampleError, RawSample
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


def write_lists(root: Path, photos: list[RawSample]) -> None:
    """As Places365 is distributed: small pictures, and lists that are unpacked beside them."""
    lines = [f"{name} {number}" for number, name in enumerate(CLASSES)]
    (root / "categories_places365.txt").write_text("\n".join(lines) + "\n")
    (root / "val_256").mkdir()
    lines = []
    for number in (2, 0, 1):
        name = f"Places365_val_{len(lines) + 1:08d}.jpg"
        (root / "val_256" / name).write_bytes(photos[number].image)
        lines.append(f"{name} {number}")
    (root / "places365_val.txt").write_text("\n".join(lines) + "\n")


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


def test_the_lists_of_the_distribution(tmp_path: Path, photos: list[RawSample]) -> None:
    write_lists(tmp_path, photos)
    assert open_source(tmp_path).fingerprint == open_source(tmp_path, "val").fingerprint
    source = open_source(tmp_path)
    samples = [source.read(i) for i in range(len(source))]
    assert [sample.image for sample in samples] == [photos[i].image for i in (2, 0, 1)]
    assert [sample.captions for sample in samples] == [(CAPTIONS[i],) for i in (2, 0, 1)]
    assert [sample.label for sample in samples] == [2, 0, 1]
    assert samples[0].key == "Places365_val_00000001"


def test_the_training_list_names_pictures_in_folders(tmp_path: Path, photos: list[RawSample]) -> None:
    write_lists(tmp_path, photos)
    write_tree(tmp_path / "data_256", photos, CLASSES)
    lines = [f"{name}/00000001.jpg {number}" for number, name in enumerate(CLASSES)]
    (tmp_path / "places365_train_standard.txt").write_text("\n".join(lines))
    source = open_source(tmp_path, "train")
    assert [source.read(i).captions for i in range(3)] == [(caption,) for caption in CAPTIONS]
    assert source.read(1).image == photos[1].image
    assert (len(open_source(tmp_path)), list(open_source(tmp_path).splits)) == (6, ["train", "val"])
    with pytest.raises(ValueError, match=r"expected one of \['train', 'val'\]"):
        open_source(tmp_path, "test")


def test_bad_lists_say_what_is_wrong(tmp_path: Path, photos: list[RawSample]) -> None:
    write_lists(tmp_path, photos)
    listed = tmp_path / "places365_val.txt"
    good = listed.read_text()
    for text, message in (
        (good + "no number here\n", r"places365_val\.txt, line 4: got 'no number here'"),
        (good.replace(" 2", " 9"), r"classes \[9\] not in categories_places365\.txt"),
        ("", "found 0 pictures"),
    ):
        listed.write_text(text)
        with pytest.raises(ValueError, match=message):
            open_source(tmp_path)
    listed.write_text("../categories_places365.txt 0\n")
    with pytest.raises(BadSampleError, match="expected a file inside"):
        open_source(tmp_path).read(0)
    listed.write_text(good)
    (tmp_path / "val_256").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="val_256/ or val_large/"):
        open_source(tmp_path)


def test_pictures_in_no_class_folder_have_no_caption(tmp_path: Path, photos: list[RawSample]) -> None:
    write_tree(tmp_path, photos, CLASSES)
    (tmp_path / "b.jpg").write_bytes(photos[0].image)
    source = open_source(tmp_path)
    samples = [source.read(i) for i in range(len(source))]
    expected = {"b", *(f"{name.lstrip('/')}/00000001" for name in CLASSES)}
    assert {sample.key for sample in samples} == expected
    assert {(sample.captions, sample.label) for sample in samples} == {((), None)}
    assert list(source.captions()) == []
