"""Files that are written whole or not at all: under a temporary name first, then renamed."""

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


UMASK = _umask()
"""The process's file mode mask, read once: it cannot be read without setting it."""


@contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """A temporary name to write to: becomes ``path`` when the block ends well, goes when it fails.

    The content is on the disk before the name is, so that not even a power cut leaves half a file.

    Args:
        path: the file; its folder is made when missing.
        shared: other processes may write the same file at the same time, so each takes a name of its own. Where
            that is not so, what a killed process left behind is overwritten by the next one.

    Raises:
        OSError: when the folder cannot be written to, or ``path`` is a folder itself.
    """
    if path.is_dir():  # told before any work is put into it, and by its own name
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = f".{uuid4().hex}" if shared else ""
    temporary = path.with_name(f".{path.name}{owner}.tmp")
    try:
        temporary.touch()
    except OSError as error:  # tells the file that was asked for, before any work is put into it
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        yield temporary
        temporary.chmod(0o666 & ~UMASK)  # safetensors files are born readable by their owner alone
        flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Keep other processes from writing a file meanwhile, where the system has locks (``flock``).

    What is locked is an empty file beside it, which goes at the end. A killed process leaves it behind, unlocked.

    Args:
        path: the file; its folder is made when missing.

    Raises:
        ValueError: when another process is writing the file.
    """
    if fcntl is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    handle = _locked(lock, path)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _locked(lock: Path, path: Path) -> int:
    assert fcntl is not None, "only_writer has looked"
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:  # tells the file that was asked for
            raise OSError(error.errno, error.strerror, str(path)) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise ValueError(f"{path}: another process is writing it; try again when that is done") from error
        except OSError:  # a file system without locks
            return handle
        if os.fstat(handle).st_nlink:  # else it went in between, and another one may lie there by now
            return handle
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(finite(data), indent=2, allow_nan=False) + "\n")


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
