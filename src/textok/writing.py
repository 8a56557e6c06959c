"""Files that are written whole or not at all: checked before the work, under a temporary name first, then renamed."""

import errno
import fnmatch
import io
import json
import math
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

MAX_DEPTH = 32
"""Levels of nesting in ``strict_json``."""
MARKS = (b"textok", b"\x89TTK")
"""Every file that textok writes holds one of these in its first bytes, pictures in a text entry."""
MARKER = ".textok"
"""The file in a folder of results which says that textok wrote the folder."""
_HEAD_BYTES = 1 << 16
_DISK = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO)
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_LEAST_ROOM = 1 << 20
_ADDRESS = re.compile(r"[a-z][a-z0-9]+:/")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


UMASK = _umask()
"""The process's file mode mask, read once: it cannot be read without setting it."""


@contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """A temporary name to write to: becomes ``path`` when the block ends well, goes when it fails.

    The content is on the disk before the name is, so that not even a power cut leaves half a file. The folder is made
    when missing. Of a ``shared`` file, which other processes may write at the same time, each takes a name of its own;
    else what a killed process left behind is overwritten by the next one.

    Raises:
        OSError: when the folder cannot be written to, or ``path`` is a folder itself.
        ValueError: when another process is writing it, unless ``shared``.
    """
    if path.is_dir():  # refused before any work is put into it, and by its own name
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = f".{uuid4().hex}" if shared else ""
    temporary = path.with_name(f".{path.name}{owner}.tmp")
    with naming(path), _taken(temporary, path):
        try:
            yield temporary
            temporary.chmod(0o666 & ~UMASK)  # safetensors files are born readable by their owner alone
            flush(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _taken(temporary: Path, path: Path) -> Iterator[None]:
    with open(temporary, "a") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{path}: another process is writing it; try again when that is done") from error
        except OSError:  # a file system without locks
            pass
        yield


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of a disk that name no file, or a temporary one of ``path``, name ``path``."""
    try:
        yield
    except OSError as error:
        nameless = error.filename is None and error.errno in _DISK
        if not (nameless or Path(str(error.filename)).name.startswith(f".{path.name}.")):
            raise
        raise OSError(error.errno, os.strerror(error.errno or errno.EIO), str(path)) from error
    except Exception as error:  # the safetensors library has no numbers but in its messages
        number = _OS_ERROR.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


# --- before the work --------------------------------------------------------------------------------------


def check_target(
    target: Path,
    *,
    option: str = "out",
    sources: Sequence[str | Path] = (),
    overwrite: bool | None = None,
    num_bytes: int = 0,
) -> None:
    """Check before any work that results can be written to a file or folder, and that nothing is lost there.

    Args:
        option: what errors call the target.
        sources: the files, folders and globs that are read; the target must not be or lie in one of them.
        overwrite: replace what textok did not make; None where the command has no such option.
        num_bytes: estimate of what will be written.

    Raises:
        ValueError: for an address, a target in a source, or one that holds what textok did not make.
        OSError: when the place is not writable, is no folder, or has too little room.
    """
    if is_address(target):
        raise ValueError(
            f"{option}: got the address {target}, expected a place here; copy it there when it is whole"
        )
    for source in sources:
        if _is_in(target, source):
            raise ValueError(
                f"{option}: got {target}, which is or lies in the source {source}; choose a place outside of it"
            )
    if not overwrite and target.exists() and not is_made_here(target):
        raise ValueError(
            f"{option}: got {target}, which exists and was not made by textok; choose another name"
            + (", or replace it by --overwrite" if overwrite is False else "")
        )
    _check_place(target, num_bytes=num_bytes)


def is_address(path: str | Path) -> bool:
    """Whether a path is an address such as s3://, of which Path takes a slash away."""
    return bool(_ADDRESS.match(str(path)))


def is_made_here(path: Path) -> bool:
    """Whether textok wrote a file (it holds the mark) or a folder (it holds the marker, or nothing at all)."""
    if path.is_dir():
        return (path / MARKER).is_file() or holds_nothing(path)
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if path.suffix == ".safetensors":  # whose header may be long, in any order
            head += file.read(int.from_bytes(head[:8], "little") if len(head) == _HEAD_BYTES else 0)
        elif path.suffix == ".parquet" and len(head) == _HEAD_BYTES:  # whose header is at the end
            file.seek(-_HEAD_BYTES, os.SEEK_END)
            head += file.read()
    return not head or any(mark in head for mark in MARKS)


def holds_nothing(folder: Path) -> bool:
    """Whether a folder is empty but for what a start that was killed left: a temporary file, a lock."""
    return all(
        file.name.startswith(".") and file.name.endswith((".tmp", ".lock")) for file in folder.iterdir()
    )


def mark_folder(folder: Path, content: str) -> None:
    """Say in a folder of results that textok wrote it, and what it holds: a later run may write there again."""
    write_json(folder / MARKER, {"made_by": "textok", "content": content})


def mark_folder_for(folder: Path, settings: str) -> None:
    """The same for a run that goes on where it was stopped, in a folder that is new or of the same settings.

    Raises:
        ValueError: for a folder of other settings.
    """
    marker = folder / MARKER
    if marker.is_file() and strict_json(settings) not in marker.read_text():
        raise ValueError(
            f"out: got {folder}, which holds something made with other settings; choose another folder"
        )
    mark_folder(folder, settings)


def _is_in(target: Path, source: str | Path) -> bool:
    place, whole = target.resolve(), Path(source).resolve()
    if whole.is_dir():
        return place.is_relative_to(whole)
    return place == whole or fnmatch.fnmatch(str(place), str(whole))


def _check_place(target: Path, *, num_bytes: int) -> None:
    there = next(place for place in (target, *target.absolute().parents) if place.is_dir())
    blocker = next((place for place in target.absolute().parents if place.is_file()), None)
    if blocker is not None:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(blocker))
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or errno.EACCES), str(target)) from error
    free, needed = shutil.disk_usage(there).free, max(num_bytes, _LEAST_ROOM)
    if free < needed:
        raise OSError(
            errno.ENOSPC, f"needs about {needed / 1e6:,.0f} MB, but {free / 1e6:,.0f} are free", str(target)
        )


def foreign_content(head: bytes) -> str | None:
    """What a file is instead of data, by its first bytes: a git-lfs pointer or a web page; None for neither."""
    if head.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer instead of the file itself; fetch it with git lfs pull"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:100].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<?xml")) and b"<svg" not in start:
        return "a web page instead of the file itself, such as a message of a server; download it again"
    return None


def refuse_foreign(path: Path, *, expected: str) -> None:
    """Raise ``ValueError`` when a file is a git-lfs pointer or a web page instead of what is expected."""
    with open(path, "rb") as file:
        foreign = foreign_content(file.read(512))
    if foreign is not None:
        raise ValueError(f"{path}: got {foreign}; expected {expected}")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(finite(data), indent=2, allow_nan=False) + "\n")


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write a tar of files by name, whole or not at all and of the same bytes each time."""
    with replacing(path) as temporary, tarfile.open(temporary, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))


def strict_json(value: Any) -> str:
    """JSON in one line that every reader of UTF-8 takes.

    Raises:
        ValueError: for NaN and infinity, text with lone surrogates, and more than ``MAX_DEPTH`` levels of nesting.
        TypeError: for what is no JSON value.
    """
    if _is_deeper(value, MAX_DEPTH):
        raise ValueError(f"values nested more than {MAX_DEPTH} deep")
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"text that is not Unicode: {text[error.start]!r}") from error
    return text


def _is_deeper(value: Any, levels: int) -> bool:
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return False
    return levels == 0 or any(_is_deeper(inner, levels - 1) for inner in value)


def finite(value: Any) -> Any:
    """The same value with null for numbers that are not finite: JSON has no NaN and no infinity."""
    if isinstance(value, Mapping):
        return {str(name): finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def flush(path: Path) -> None:
    """Have the disk hold what was written to a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
