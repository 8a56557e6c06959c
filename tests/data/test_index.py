"""What is large is opened faster the second time, and always as it is now."""

from collections.abc import Callable
from pathlib import Path

import pytest

from textok.data import DataConfig, EvalLoader, Source, open_source
from textok.data.files import cache_folder
from textok.data.records import Fields
from tiny import write_pictures


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the indexes; everything is large enough for one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("textok.data.sources.MANY_FILES", 1)
    return tmp_path / "cache" / "textok" / "index"


def facts(source: Source) -> tuple[object, ...]:
    samples = [source.read(index) for index in range(len(source))]
    return (
        [(one.key, one.captions, one.shard, one.label, one.image) for one in samples],
        source.census.facts(),
        dict(source.splits),
        source.fingerprint,
        list(source.shard_lengths),
    )


def opened_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    with monkeypatch.context() as patch:
        patch.setattr("textok.data.sources.open_listing", lambda *_, **__: pytest.fail("listed again"))
        return open_source(root)


def folder(root: Path, _: Callable[..., Path]) -> Path:
    write_pictures(root, [None] * 3)
    for number, caption in enumerate(("a cat", "a dog", "a pig")):
        (root / f"{number:02d}.txt").write_text(caption)
    (root / "notes.doc").touch()
    return root


def classes(root: Path, _: Callable[..., Path]) -> Path:
    for name in ("train/cat", "val/dog"):
        write_pictures(root / name, [None])
    return root


def lists(root: Path, _: Callable[..., Path]) -> Path:
    write_pictures(root, [None] * 2)
    names = sorted(path.name for path in root.glob("*.png"))
    (root / "metadata.csv").write_text(f"file_name,text\n{names[0]},one\ngone.png,two\n")
    (root / names[1]).unlink()
    return root


def tars(root: Path, make_tars: Callable[..., Path]) -> Path:
    make_tars(3, 2)
    root.mkdir()
    for path in root.parent.glob("*.tar"):
        path.rename(root / path.name)
    return root


@pytest.mark.parametrize("form", [folder, classes, tars])
def test_a_kept_index_gives_the_same(
    form: Callable[..., Path],
    tmp_path: Path,
    kept: Path,
    make_tars: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = form(tmp_path / "set", make_tars)
    first = facts(open_source(root))
    assert facts(opened_again(root, monkeypatch)) == first and len(list(kept.iterdir())) == 1


def test_problems_are_kept_too(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = lists(tmp_path / "set", open_source)
    config = DataConfig(source=str(root), size=(8, 8), on_bad="skip")
    bad = []
    for source in (open_source(root), opened_again(root, monkeypatch)):
        loader = EvalLoader(config, batch_size=2, source=source)
        assert sum(map(len, loader)) == 1
        bad.append(loader.bad.samples)
    assert bad[0] == bad[1] and len(bad[0]) == 1


def test_what_changed_is_seen(tmp_path: Path, kept: Path) -> None:
    root = folder(tmp_path / "set", open_source)
    before = open_source(root)
    (root / "00.txt").write_text("a hen")
    after = open_source(root)
    assert "a hen" in list(after.captions()) and after.fingerprint != before.fingerprint
    (root / "01.png").unlink()
    assert len(open_source(root)) == len(before) - 1 and len(list(kept.iterdir())) == 1
    with pytest.raises(ValueError, match="no fields"):
        open_source(root, fields=Fields(caption="long"))


def test_a_damaged_index_is_made_anew(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root = folder(tmp_path / "set", open_source)
    first = facts(open_source(root))
    [file] = kept.iterdir()
    whole = file.read_bytes()
    for damage in (b"", whole[:20], whole[:-1], whole[:90] + bytes([whole[90] ^ 1]) + whole[91:]):
        file.write_bytes(damage)
        assert facts(open_source(root)) == first and file.read_bytes() == whole
    assert capfd.readouterr().err == "" and sorted(root.parent.iterdir()) == [tmp_path / "cache", root]


def test_without_a_place_for_it_nothing_is_kept(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "set", open_source)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert facts(open_source(root)) == facts(open_source(root))


def test_a_user_without_a_home_has_a_cache_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert cache_folder("index").parts[-2:] == ("textok", "index")
