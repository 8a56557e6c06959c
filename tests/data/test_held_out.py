"""Which pictures are held out: the same ones whatever the order of the files."""

import tarfile
from pathlib import Path

import pytest
from PIL import Image

from textok.data import DataConfig
from textok.data.held_out import hold_out, open_training
from textok.data.sources import open_source


def write(root: Path, names: list[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / name)
    return root


def names(count: int, folder: str = "") -> list[str]:
    return [f"{folder}{number:03d}.png" for number in range(count)]


def opened(
    root: Path, split: str | None = None, source: str | None = None
) -> tuple[list[str], list[str], str]:
    config = DataConfig(source=str(root), split=split, size=(8, 8))
    pictures = open_training(config, source=source, split="val")
    return list(pictures.train.keys()), list(pictures.held_out.keys()), pictures.name


def test_a_few_are_held_out_by_the_hash_of_their_keys(tmp_path: Path) -> None:
    train, held_out, _ = opened(write(tmp_path / "set", names(40)))
    assert (len(train), len(held_out)) == (32, 8) and not set(train) & set(held_out)
    again = hold_out(open_source(tmp_path / "set"), "set")
    assert list(again.held_out.keys()) == held_out and again.facts["held_out"]["count"] == 8
    assert [again.held_out.read(n).key for n in range(8)] == held_out
    more = set(opened(write(tmp_path / "set", names(44)))[1])
    assert len(more & set(held_out)) >= 5
    with pytest.raises(ValueError, match="got 1 pictures"):
        opened(write(tmp_path / "one", names(1)))


def test_parts_are_known_by_their_usual_names(tmp_path: Path) -> None:
    root = write(tmp_path / "set", [*names(5, "train/"), *names(3, "validation/")])
    assert [len(keys) for keys in opened(root)[:2]] == [5, 3] and opened(root)[2] == "validation"
    assert [len(keys) for keys in opened(root, "train")[:2]] == [5, 3]
    with pytest.raises(ValueError, match="nothing"):
        opened(root, "nothing")
    assert [len(keys) for keys in opened(write(tmp_path / "flat", names(20)), "train")[:2]] == [12, 8]
    other = write(tmp_path / "other", names(4))
    assert [len(keys) for keys in opened(root, "train", str(other))[:2]] == [5, 4]


def test_a_recipe_never_trains_on_what_is_for_judging(tmp_path: Path) -> None:
    coco = write(tmp_path / "coco", [*names(4, "train/"), *names(3, "eval/"), *names(2, "dev/")])
    assert [len(keys) for keys in opened(coco, "train")[:2]] == [4, 2]
    for split in ("train", None):
        with pytest.raises(ValueError, match="split"):
            opened(write(tmp_path / "judges", [*names(4, "val/"), *names(3, "test/")]), split)
    assert [len(keys) for keys in opened(tmp_path / "judges", "test")[:2]] == [3, 4]


@pytest.mark.parametrize("split", [None, "train"])
def test_parts_with_a_year_behind_their_name(split: str | None, tmp_path: Path) -> None:
    for part, count in (("train2017", 4), ("val2017", 3)):
        with tarfile.open(write(tmp_path, names(4)) / f"{part}-0.tar", "w") as tar:
            for name in names(count):
                tar.add(tmp_path / name, f"{part}{name}")
    for name in names(4):
        (tmp_path / name).unlink()
    train, held_out, name = opened(tmp_path, split)
    assert (len(train), len(held_out), name) == (4, 3, "val2017")


def test_parts_are_mixed_only_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path / "set", [*names(5, "train/"), *names(3, "val/")])
    config = DataConfig(source=str(root), size=(8, 8))
    with pytest.raises(ValueError, match=r"split is None; expected one of \['train', 'val'\]"):
        config.open()
    assert len(config.open(all_parts=True)) == 8
    assert "all parts are taken: train 5, val 3" in capsys.readouterr().err
    assert len(DataConfig(source=str(root / "train"), size=(8, 8)).open()) == 5


def test_pictures_that_are_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="a relative path: it starts at") as caught:
        opened(Path("datasets/mine"), "train")
    assert "--data.source" in str(caught.value)
