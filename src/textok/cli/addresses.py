"""Results behind an address of fsspec, such as s3://: made in a folder here, and put there when they are whole."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from textok.display import note
from textok.locking import only_writer
from textok.writing import MARKER, MARKS, is_address

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
_HERE = Path(".textok-out")
_SHARD = re.compile(r"\d{6}\.\w+")
_ENDS = 1 << 16  # bytes at either end of a file, one of which has the mark


def to_address(function: FunctionT, *, fetch: bool = False) -> FunctionT:
    """The function, whose ``out`` may be an address.

    It writes below ``.textok-out`` in the working folder. What it has made is put to the address at the end, and goes
    here; after an error or an interrupt it stays, so that the same command goes on. With ``fetch`` a folder that is
    there already is brought here first, for a function that adds to it.
    """

    @wraps(function)
    def reaching(*positional: Any, out: Path, **options: Any) -> None:
        if not is_address(out):
            function(*positional, out=out, **options)
            return
        here = _HERE / str(out).replace(":/", "/", 1)
        with only_writer(here):
            place = _Place(shown_place(here))
            place.open(here, fetch=fetch, overwrite=options.get("overwrite", False))
            function(*positional, out=here, **options)
            place.put(here)
            for folder in (here, here.with_name(f".{here.name}.parts")):
                shutil.rmtree(folder, ignore_errors=True)
            here.unlink(missing_ok=True)
        with suppress(OSError):  # another result waits there
            for folder in list(here.parents)[:-1]:
                folder.rmdir()

    return cast(FunctionT, reaching)


def is_staged(out: Path) -> bool:
    """Whether a place here stands for an address."""
    return out.is_relative_to(_HERE)


def shown_place(out: Path) -> str:
    """The address that a place here stands for, or the place itself."""
    if not is_staged(out):
        return str(out)
    protocol, *names = out.relative_to(_HERE).parts
    return f"{protocol}://{'/'.join(names)}"


class _Place:
    def __init__(self, address: str) -> None:
        import fsspec

        self.address = address
        with self._naming():
            self.files, self.inner = fsspec.core.url_to_fs(address)

    def open(self, here: Path, *, fetch: bool, overwrite: bool) -> None:
        """Check before the work that it can be written to, and that nothing of the user's is lost there."""
        with self._naming():
            self.files.pipe_file(f"{self.inner}.check", b"")
            self.files.rm_file(f"{self.inner}.check")
            is_ours = here.exists() or overwrite or not self.files.exists(self.inner) or self._is_made_here()
            if fetch and is_ours and not here.exists() and self.files.isdir(self.inner):
                self.files.get(f"{self.inner}/", f"{here}/", recursive=True)
        if not is_ours:
            raise ValueError(
                f"out: got {self.address}, which exists and was not made by textok; choose another name"
            )

    def put(self, here: Path) -> None:
        """Put the files there, each whole or not at all: first the marker of the folder, last its index.json."""
        names = [path.relative_to(here).as_posix() for path in sorted(here.rglob("*")) if path.is_file()]
        with self._naming():
            for name in names or [""]:
                self.files.put_file(str(here / name), f"{self.inner}/{name}".rstrip("/"))
            for old in self.files.find(self.inner) if names else ():
                name = old.rpartition("/")[2]
                if _SHARD.fullmatch(name) and name not in names:  # of an earlier run with more of them
                    self.files.rm_file(old)
        note(f"{self.address}: {len(names) or 1} files are there")

    def _is_made_here(self) -> bool:
        if self.files.isdir(self.inner):
            return self.files.exists(f"{self.inner}/{MARKER}")
        ends = self.files.head(self.inner, _ENDS) + self.files.tail(self.inner, _ENDS)
        return any(mark in ends for mark in MARKS)

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Errors of all kinds, for each kind of address has its own, in one line that names it."""
        try:
            yield
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise OSError(
                f"out: got {self.address}, expected a place to write to: {reason}; the same command goes on"
            ) from error
