"""--out at an address: made here first, put there whole, and gone on with after a failure."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from textok.captioning.journal import CAPTIONS, read_rows
from textok.cli import main
from textok.writing import check_target
from tiny import tiny_model, write_pictures


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    """A file system in memory, empty, beside a folder of pictures and a model where the command runs."""
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "set", [f"square {i}" for i in range(5)], side=16)
    tiny_model().save_pretrained(tmp_path / "model", name="tiny")
    files = fsspec.filesystem("memory")
    files.makedirs("/shelf", exist_ok=True)
    yield files
    files.rm("/shelf", recursive=True)


def encode(out: str, *words: str) -> int:
    command = ["encode", "set", "--model", "model", "--batch-size", "1", "--shard-pictures", "2"]
    return main([*command, "--out", out, *words])


def test_shards_are_put_whole_and_those_of_a_longer_run_go(shelf: fsspec.AbstractFileSystem) -> None:
    assert encode("here.parquet") == encode("memory://shelf/x.parquet") == 0
    names = sorted(path.name for path in Path("here.parquet").iterdir())
    assert sorted(name.rpartition("/")[2] for name in shelf.find("/shelf")) == names
    for name in names:
        assert shelf.cat_file(f"/shelf/x.parquet/{name}") == Path("here.parquet", name).read_bytes()
    assert not Path(".textok-out").exists()
    for out in ("here.parquet", "memory://shelf/x.parquet"):
        assert encode(out, "--limit", "3") == 0
    here = {path.name for path in Path("here.parquet").glob("0*")}
    there = {name.rpartition("/")[2] for name in shelf.glob("/shelf/x.parquet/0*")}
    assert here == there == {"000000.parquet", "000001.parquet"}


def test_after_a_failure_nothing_is_encoded_again(
    shelf: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("the shelf is full")

    with monkeypatch.context() as patch:
        patch.setattr(type(shelf), "put_file", full)
        assert encode("memory://shelf/x.parquet") == 2
    assert "out: got memory://shelf/x.parquet" in capsys.readouterr().err
    assert not shelf.find("/shelf")
    with monkeypatch.context() as patch:
        patch.setattr("textok.cli.encode.encode_batch", full)
        assert encode("memory://shelf/x.parquet") == 0
    assert shelf.exists("/shelf/x.parquet/index.json") and not Path(".textok-out").exists()


def test_what_somebody_else_put_there_stays(
    shelf: fsspec.AbstractFileSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.pipe_file("/shelf/x.parquet", b"mine")
    shelf.pipe_file("/shelf/y.parquet/mine", b"mine")
    assert encode("memory://shelf/x.parquet") == encode("memory://shelf/y.parquet") == 2
    assert capsys.readouterr().err.count("was not made by textok") == 2
    assert shelf.cat_file("/shelf/x.parquet") == shelf.cat_file("/shelf/y.parquet/mine") == b"mine"
    assert not Path(".textok-out").exists()
    assert main(["encode", "set", "--model", "model", "--out", "memory://shelf/z.ttk"]) == 0
    assert main(["encode", "set", "--model", "model", "--out", "memory://shelf/z.ttk"]) == 0  # its own


def test_captions_that_are_there_are_not_asked_for_again(
    shelf: fsspec.AbstractFileSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["caption", "set", "--writer", "alt-text", "--out", "memory://shelf/words"]
    assert main([*words, "--limit", "2"]) == 0
    times = shelf.cat_file(f"/shelf/words/{CAPTIONS}")
    assert main(words) == 0
    assert shelf.cat_file(f"/shelf/words/{CAPTIONS}").startswith(times)
    shelf.get("/shelf/words/", "words/", recursive=True)
    assert len(list(read_rows(Path("words", CAPTIONS)))) == 5 and not Path(".textok-out").exists()
    assert "memory://shelf/words" in capsys.readouterr().out


def test_other_commands_write_here_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="out: got the address"):
        check_target(Path("s3://shelf/x"))
