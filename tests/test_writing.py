"""Files are whole or not there."""

import errno
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from textok.cli import main
from textok.locking import only_writer, writing_alone
from textok.models.checkpoint import shipped_folder
from textok.pipeline.cache_latents import cache_latents
from textok.pipeline.tokens import Tokens, save_tokens
from textok.training.generator.train import train_generator
from textok.training.quality_predictor import train_predictor
from textok.training.tokenizer.train import train_tokenizer
from textok.writing import (
    check_target,
    mark_folder,
    replacing,
    strict_json,
    write_json,
    write_text,
)
from tiny import tiny_model


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


def test_a_folder_in_the_place_of_the_file_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError) as caught, replacing(tmp_path / "a"):
        pytest.fail("no work is done for a file that cannot be")
    assert caught.value.filename == str(tmp_path / "a") and not list((tmp_path / "a").iterdir())


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


def test_one_process_at_a_time_writes_a_file(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "new" / "a"
    script = f"from pathlib import Path; from textok.locking import only_writer as w\nwith w(Path({str(path)!r})): pass"
    words = [sys.executable, "-c", script]
    with only_writer(path):
        refused = subprocess.run(words, capture_output=True, text=True)
        with only_writer(path.with_name("b")):
            assert len(list(path.parent.iterdir())) == 2
    assert refused.returncode == 1
    last = refused.stderr.splitlines()[-1]
    assert last.startswith(f"ValueError: {path}: another process is writing it (process {os.getpid()} on ")
    assert "since 20" in last and not path.parent.exists(), "a folder that was made for nothing goes again"
    path.parent.mkdir()
    path.with_name(".a.lock").touch()  # left by a process that was killed
    assert subprocess.run(words, capture_output=True).returncode == 0
    assert list(path.parent.iterdir()) == []


def test_a_folder_is_locked_by_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fcntl")
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")

    def refused(path: Path) -> None:
        with pytest.raises(ValueError, match="another process"), only_writer(path):
            pass

    with only_writer(Path()):
        for same in (Path(), tmp_path / "a"):
            in_thread(refused, same)
            with only_writer(same):  # who holds it may take it again
                in_thread(refused, same)
        in_thread(refused, tmp_path / "a")
    with only_writer(tmp_path / "a"):
        pass


def in_thread(function: Callable[..., object], *values: object) -> None:
    """Call a function in another thread, which holds no lock of this one."""
    with ThreadPoolExecutor() as pool:
        pool.submit(function, *values).result()


def test_two_writers_of_a_file_are_refused_and_not_mixed(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "a"
    with replacing(path) as temporary:
        temporary.write_text("one")
        with pytest.raises(ValueError, match="another process"):
            write_text(path, "other")
        assert temporary.read_text() == "one"
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


@dataclass
class Group:
    out: Path | None


def test_a_function_writes_alone_whatever_way_out_is_given(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")

    @writing_alone
    def plain(out: Path | str | None) -> None:
        seen.append(out)

    @writing_alone
    def grouped(number: int, options: Group) -> None:
        seen.append(options.out)

    seen, path = list[object](), tmp_path / "a"
    calls = [partial(plain, path), partial(plain, out=str(path)), partial(grouped, 1, Group(path))]
    calls.append(partial(grouped, number=1, options=Group(path)))
    with only_writer(path):
        for call in calls:
            with pytest.raises(ValueError, match="another process"):
                in_thread(call)
        in_thread(plain, None)
    assert seen == [None]
    for call in calls:
        call()
    assert len(seen) == 5 and not list(tmp_path.iterdir())


def test_strict_json_is_read_back_by_all_or_refused() -> None:
    value = {"a": [1, "ü", None, True, 0.5], "b": {"c": []}}
    assert strict_json(value) == '{"a":[1,"ü",null,true,0.5],"b":{"c":[]}}'
    for wrong, message in (
        (math.nan, "JSON compliant"),
        ("\ud800", r"not Unicode: '\\ud800'"),
        ({"\udcff": 1}, "not Unicode"),
        (json.loads("[" * 33 + "]" * 33), "32 deep"),
    ):
        with pytest.raises(ValueError, match=message):
            strict_json(wrong)
    assert strict_json(json.loads("[" * 32 + "]" * 32))


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    full = Path("/dev/full")
    with (
        pytest.raises(OSError, match="full") as caught,
        replacing(tmp_path / "a.txt"),
        full.open("w") as file,
    ):
        file.write("x")
    assert caught.value.filename == str(tmp_path / "a.txt") and not list(tmp_path.iterdir())


def test_a_limit_that_the_weights_library_meets_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="weights") as error, replacing(tmp_path / "weights"):
        raise SafetensorError("Error while serializing: I/O error: File too large (os error 27)")
    assert error.value.errno == errno.EFBIG and error.value.filename == str(tmp_path / "weights")


def test_a_target_in_the_source_is_refused(tmp_path: Path) -> None:
    tar = tmp_path / "a.tar"
    tar.touch()
    for target, source in (
        (tmp_path / "new" / "run", tmp_path),
        (tmp_path, tmp_path),
        (tar, tar),
        (tar, f"{tmp_path}/*.tar"),
    ):
        with pytest.raises(ValueError, match=r"^out: "):
            check_target(target, sources=[source], overwrite=True)
    check_target(tmp_path / "b", sources=[tar])
    assert list(tmp_path.iterdir()) == [tar]


def test_what_textok_did_not_make_is_not_replaced(tmp_path: Path) -> None:
    file, folder = tmp_path / "one.png", tmp_path / "folder"
    file.write_bytes(b"\x89PNG a photograph")
    folder.mkdir()
    check_target(folder)
    (folder / "x").touch()
    for target in (file, folder):
        with pytest.raises(ValueError, match=rf"^file: got {target}"):
            check_target(target, option="file")
        check_target(target, overwrite=True)
    mark_folder(folder, "pictures")
    write_json(file, {"libraries": {"open-textok": "0.1"}})
    for target in (file, folder):
        check_target(target)


def test_what_a_kill_left_in_a_new_folder_is_nothing_of_the_users(tmp_path: Path) -> None:
    for name in ("..textok.tmp", ".lock", ".a.lock"):
        (tmp_path / name).touch()
    check_target(tmp_path)
    (tmp_path / "mine.tmp").touch()
    with pytest.raises(ValueError, match="out"):
        check_target(tmp_path)


def test_a_place_that_cannot_be_written_or_is_too_small_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("textok")
    for target, size, kind in (
        (Path("/proc/a/b"), 0, OSError),
        (tmp_path / "file" / "b", 0, NotADirectoryError),
        (tmp_path / "b", 1 << 60, OSError),
    ):
        with pytest.raises(kind) as caught:
            check_target(target, num_bytes=size)
        assert str(target).startswith(caught.value.filename)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x.safetensors", ["info", "{file}"]),
        ("x.safetensors", ["decode", "{file}", "--out", "back"]),
        ("x.ttk", ["info", "{file}"]),
        ("x.ttk", ["decode", "{file}", "--out", "back"]),
        ("m/model.safetensors", ["info", "{folder}"]),
        ("m/model.safetensors", ["encode", "icons", "--out", "x.ttk", "--model", "{folder}"]),
    ],
)
def test_pointers_of_git_lfs_are_called_what_they_are(
    name: str,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n")
    if name.startswith("m/"):
        shutil.copy(shipped_folder("icons-128-tokenizer") / "config.json", file.parent)
    assert main([word.format(file=file, folder=file.parent) for word in words]) == 2
    assert "git lfs pull" in capsys.readouterr().err


@pytest.mark.parametrize("function", [train_tokenizer, train_generator, train_predictor, cache_latents])
def test_functions_of_python_that_write_a_folder_lock_it(
    function: Callable[..., object], tmp_path: Path
) -> None:
    pytest.importorskip("fcntl")

    def call() -> None:
        with pytest.raises(ValueError, match="another process"):
            function(None, out=tmp_path / "a")  # refused before the first look at its settings

    with only_writer(tmp_path / "a"):
        in_thread(call)


def test_functions_of_python_replace_nothing_of_the_users(tmp_path: Path) -> None:
    tokens = Tokens(model_id="m-1", grid=(1, 1), keys=("a",), values=torch.zeros(1, 1, 1))
    (tmp_path / "photo.jpg").write_bytes(b"of the user")
    with pytest.raises(ValueError, match="path:"):
        save_tokens(tokens, tmp_path / "photo.jpg")
    assert (tmp_path / "photo.jpg").read_bytes() == b"of the user"
    save_tokens(tokens, tmp_path / "photo.jpg", overwrite=True)
    save_tokens(tokens, tmp_path / "photo.jpg")
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(ValueError, match="folder:"):
        tiny_model().save_pretrained(tmp_path / "bert")
    assert [path.name for path in (tmp_path / "bert").iterdir()] == ["config.json"]
    tiny_model().save_pretrained(tmp_path / "own")
    tiny_model().save_pretrained(tmp_path / "own")
