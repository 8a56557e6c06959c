"""Which pictures are held out: the same ones whatever the order of the files."""

from pathlib import Path

import pytest
from PIL import Image

from textok.data import DataConfig
from textok.data.held_out import hold_out, open_training
from textok.data.sources import open_source
from textok.data.subset import keys_of


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
    return list(keys_of(pictures.train)), list(keys_of(pictures.held_out)), pictures.name


def test_a_few_are_held_out_by_the_hash_of_their_keys(tmp_path: Path) -> None:
    train, held_out, _ = opened(write(tmp_path / "set", names(40)))
    assert (len(train), len(held_out)) == (32, 8) and not set(train) & set(held_out)
    again = hold_out(open_source(tmp_path / "set"), "set")
    assert list(keys_of(again.held_out)) == held_out and again.facts["held_out"]["count"] == 8
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


def test_pictures_that_are_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="a relative path: it starts at") as caught:
        opened(Path("datasets/mine"), "train")
    assert "--data.source" in str(caught.value)
