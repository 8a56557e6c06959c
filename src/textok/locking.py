"""One process at a time writes to a place; the second one is told who does."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar, cast

from textok.writing import is_address, naming

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
_HELD: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())


def writing_alone(function: FunctionT) -> FunctionT:
    """The function, during which no other process writes to the ``out`` that it is called with.

    ``out`` is an argument, or a field of one; where it is None or an address, nothing is locked, nor on the ranks above
    0 by the argument ``rank`` or by the environment.
    """

    @wraps(function)
    def alone(*positional: Any, **options: Any) -> Any:
        values = signature(function).bind(*positional, **options).arguments
        groups = (group.out for group in values.values() if hasattr(group, "out"))
        if (out := values.get("out") or next(groups, None)) is None or is_address(out):
            return function(*positional, **options)
        rank = int(values.get("rank", os.environ.get("RANK", 0)))
        with nullcontext() if rank else only_writer(Path(out)), naming(Path(out)):
            return function(*positional, **options)

    return cast(FunctionT, alone)


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Keep others from writing a file or folder meanwhile, where the system has locks (``flock``).

    What is locked is a small file beside it (in a folder, where nothing may be written beside that), which says who
    holds it and goes at the end. A killed process leaves it behind, unlocked. Who holds it may take it again. The
    folder around it is made when missing, and goes if nothing came into it.

    Raises:
        ValueError: when another process, or another thread, is writing there.
    """
    whole = path.absolute()
    if fcntl is None or whole in _HELD.get():
        yield
        return
    missing = [folder for folder in whole.parents if not folder.exists()]
    held, before = _locked(whole, path), _HELD.set(_HELD.get() | {whole})
    try:
        yield
    finally:
        _HELD.reset(before)
        if held is not None:
            held[0].unlink(missing_ok=True)
            os.close(held[1])
        with suppress(OSError):
            for folder in missing:
                folder.rmdir()


def _locked(whole: Path, path: Path) -> tuple[Path, int] | None:
    assert fcntl is not None, "only_writer has looked"
    while opened := _opened(whole):
        handle = opened[1]
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(handle, 200).decode(errors="replace") or "it does not say which"
            os.close(handle)
            raise ValueError(
                f"{path}: another process is writing it ({holder}); try again when that is done"
            ) from error
        except OSError:  # a file system without locks
            return opened
        if os.fstat(handle).st_nlink:  # else it went in between, and another one may lie there by now
            os.truncate(handle, 0)
            now = datetime.now(UTC).isoformat(" ", "seconds")
            with suppress(OSError):  # on a full disk the lock holds without its holder's name
                os.write(handle, f"process {os.getpid()} on {socket.gethostname()}, since {now}".encode())
            return opened
        os.close(handle)
    return None


def _opened(whole: Path) -> tuple[Path, int] | None:
    """The lock file; None where none can be made, which the command will tell that cannot write there either."""
    places = [whole.with_name(f".{whole.name}.lock"), *([whole / ".lock"] if whole.is_dir() else [])]
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            return place, os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            if not place.parent.is_dir():  # another process took its new folder away again
                return _opened(whole)
        except OSError:
            continue
    return None
