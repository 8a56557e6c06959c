"""COCO captions, in the layout that COCO unpacks to, made of a few photographs."""

import json
import pickle
from pathlib import Path

import pytest

from textok.data import DataConfig, EvalLoader, open_source
from textok.data.records import Fields
from textok.data.samples import BadSampleError, RawSample

PHOTOS = Path(__file__).parents[2] / "datasets" / "photos-256"


@pytest.fixture(scope="module")
def photos() -> list[RawSample]:
    source = open_source(PHOTOS)
    return [source.read(i) for i in (0, 50, 100, 150)]


def write_coco(
    root: Path, photos: list[RawSample], *, split: str = "val2017", folder: str = "val2017"
) -> Path:
    """The annotation file; annotations of different pictures are interleaved, as COCO's are."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    images, annotations = [], []
    for number, photo in enumerate(photos):
        name = f"{number:012d}.jpg"
        (root / folder / name).write_bytes(photo.image)
        images.append({"license": 4, "file_name": name, "height": 256, "width": 256, "id": 1000 + number})
    for turn in range(3):
        for number in reversed(range(len(photos))):
            caption = f" {photos[number].captions[0]}\n number {turn}. "
            annotations.append({"image_id": 1000 + number, "id": len(annotations), "caption": caption})
    file = root / "annotations" / f"captions_{split}.json"
    content = {"info": {"year": 2017}, "licenses": [], "images": images, "annotations": annotations}
    file.write_text(json.dumps(content))
    return file


def test_every_picture_has_all_its_captions(tmp_path: Path, photos: list[RawSample]) -> None:
    file = write_coco(tmp_path, photos)
    source = open_source(file)
    samples = [source.read(i) for i in range(len(source))]
    assert [sample.image for sample in samples] == [photo.image for photo in photos]
    assert [sample.key for sample in samples] == [f"{i:012d}" for i in range(4)]
    for sample, photo in zip(samples, photos, strict=True):
        assert sample.captions == tuple(f"{photo.captions[0]} number {turn}." for turn in range(3))
        assert sample.label is None
    assert list(source.captions()) == [text for sample in samples for text in sample.captions]
    again = pickle.loads(pickle.dumps(source))
    assert again.read(2) == samples[2] and again.fingerprint == open_source(file).fingerprint


def test_the_folder_is_a_source_too(tmp_path: Path, photos: list[RawSample]) -> None:
    write_coco(tmp_path, photos)
    assert len(open_source(tmp_path)) == len(open_source(tmp_path, "val2017")) == 4
    write_coco(tmp_path, photos[:2], split="train2017", folder="train2017")
    assert len(open_source(tmp_path, "train2017")) == 2
    both = open_source(tmp_path)
    assert len(both) == 6 and len({both.read(i).key for i in range(6)}) == 6
    assert list(both.splits) == ["train2017", "val2017"]
    with pytest.raises(ValueError, match=r"train2017.*val2017"):
        open_source(tmp_path, "test")


def test_pictures_elsewhere_are_named(tmp_path: Path, photos: list[RawSample]) -> None:
    file = write_coco(tmp_path, photos, folder="jpegs")
    with pytest.raises(FileNotFoundError, match=r"000000000000\.jpg.*captions_val2017\.json:FOLDER"):
        open_source(file)
    source = open_source(f"{file}:{tmp_path / 'jpegs'}")
    assert source.read(3).image == photos[3].image
    with pytest.raises(FileNotFoundError, match="no such folder"):
        open_source(f"{file}:{tmp_path / 'nowhere'}")
    with pytest.raises(FileNotFoundError, match=r"gone\.json:"):
        open_source(tmp_path / "gone.json")


@pytest.mark.slow
def test_batches_take_the_first_caption(tmp_path: Path, photos: list[RawSample]) -> None:
    config = DataConfig(source=str(write_coco(tmp_path, photos)), size=(64, 64))
    [batch] = EvalLoader(config, batch_size=8)
    assert batch.captions == [f"{photo.captions[0]} number 0." for photo in photos]
    assert batch.images.shape == (4, 3, 64, 64)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"images": [], "annotations": []}',
        '{"images": [{"id": 1}], "annotations": []}',
        '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": 3}]}',
    ],
)
def test_other_json_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match=r"x\.json:"):
        open_source(tmp_path / "x.json")


def test_a_huge_file_is_not_read(
    tmp_path: Path, photos: list[RawSample], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_coco(tmp_path, photos)
    monkeypatch.setattr("textok.data.sources.lists.MAX_LIST_BYTES", 100)
    with pytest.raises(ValueError, match="of 100"):
        open_source(file)


def test_split_and_fields_must_fit(tmp_path: Path, photos: list[RawSample]) -> None:
    file = write_coco(tmp_path, photos)
    assert len(open_source(file, "val2017")) == 4
    with pytest.raises(ValueError, match=r"split is 'train'"):
        open_source(file, "train")
    with pytest.raises(ValueError, match="no fields"):
        open_source(file, fields=Fields(caption="text"))


def test_a_name_cannot_leave_the_folder(tmp_path: Path, photos: list[RawSample]) -> None:
    file = write_coco(tmp_path, photos)
    found = json.loads(file.read_text())
    found["images"][1]["file_name"] = "../annotations/captions_val2017.json"
    file.write_text(json.dumps(found))
    source = open_source(file)
    assert source.read(0).image == photos[0].image
    with pytest.raises(BadSampleError, match="expected a file inside"):
        source.read(1)
