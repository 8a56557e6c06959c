"""Files are whole or not there."""

import json
from pathlib import Path

import pytest

from textok.writing import replacing, write_json, write_text


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("content")
        assert not path.exists() and temporary.parent == path.parent
    assert path.read_text() == "content" and list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": [1]})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert json.loads(path.read_text()) == {"a": [1]} and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_to_is_told_by_the_files_name() -> None:
    with pytest.raises(OSError, match="/proc/a") as caught, replacing(Path("/proc/a")):
        pytest.fail("no work is done for a file that cannot be")
    assert caught.value.filename == "/proc/a"


def test_what_a_kill_left_is_overwritten(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as temporary:
        temporary.write_text("x")
    temporary.write_text("left by a process that was killed")
    write_text(tmp_path / "a", "über")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "über"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_two_writers_of_a_shared_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with replacing(path, shared=True) as one, replacing(path, shared=True) as other:
        one.write_text("one")
        other.write_text("other")
        assert one != other
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_a_file_has_the_mode_that_the_user_asked_for(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"content")
        temporary.chmod(0o600)
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "a.bin").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_json_has_null_for_numbers_that_are_not_finite(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [float("nan"), 1.5], "b": {"c": float("inf")}})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [None, 1.5], "b": {"c": None}}
