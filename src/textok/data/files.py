"""Files of a data set, here or behind an fsspec address: which there are, what is passed over, and reading them."""

import glob
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from textok.display import note
from textok.writing import MARKER, is_made_here

MAX_IMAGE_BYTES = 256 << 20
MAX_TEXT_BYTES = 1 << 20
PAGE_MARK = "textok-page"
"""Text entry of a PNG that textok drew for people: a grid or a report, no picture of a data set."""

LEFT_BY_SYSTEMS = re.compile(
    r"(?:^|/)(?:\.(?!\.?(?:/|$))|(?:__MACOSX|@eaDir|#recycle|\$RECYCLE\.BIN|Thumbs\.db|desktop\.ini)(?:/|$))"
)
"""Paths of hidden files, thumbnails, and other things that systems leave in folders."""
_PAGES = re.compile(r"(?:^|/)(?:grid|step-\d+|preview)[^/]*\.png$")
_HEAD_BYTES = 4096
_SHOWN = 3
_announced: set[str] = set()
_TIMES = ("ETag", "etag", "blob_id", "mtime", "LastModified", "last_modified", "created")


@dataclass(kw_only=True)
class Census:
    """Everything in a source, counted once: files of a folder, members of a tar, rows of a table.

    Pictures are read; beside them are files that say something about them: captions, labels, lists. Others are passed
    over, by reason, and the first of them named. Notes are what a reader should know.
    """

    read: int = 0
    beside: int = 0
    passed: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def pass_over(self, reason: str, names: Iterable[str]) -> None:
        """Count what is passed over for a reason; the first names are kept."""
        for name in names:
            self.passed[reason] = self.passed.get(reason, 0) + 1
            if self.passed[reason] <= _SHOWN:
                self.first.setdefault(reason, []).append(name)

    def facts(self) -> dict[str, Any]:
        """Plain JSON values for a record."""
        passed = {reason: {"count": n, "first": self.first[reason]} for reason, n in self.passed.items()}
        return {"read": self.read, "beside": self.beside, "passed_over": passed, "notes": list(self.notes)}

    def __str__(self) -> str:
        """One line."""
        parts = []
        for reason, count in self.passed.items():
            more = ", ..." if count > _SHOWN else ""
            parts.append(f"{count:,} {reason} ({', '.join(self.first[reason])}{more})")
        passed = [f"passed over: {', '.join(parts)}"] if parts else []
        return "; ".join([f"{self.read:,} pictures are read", *passed, *self.notes])


class File(NamedTuple):
    """A file by its name below a root, with its size in bytes and when it was changed last.

    Here that is when its bytes and when anything of it was changed: of two times a program can set only one.
    """

    name: str
    size: int
    changed: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of a source, sorted by name; ``whole``: of a folder as a whole, and not a file or a glob."""

    root: str
    files: list[File]
    census: Census = field(default_factory=Census)
    whole: bool = True

    def path(self, name: str) -> str:
        """Where a file is."""
        return join(self.root, name)

    def below(self, folder: str) -> "Listing":
        """The files below one of its folders, as a listing of that folder."""
        prefix = f"{folder}/"
        inside = [file for file in self.files if file.name.startswith(prefix)]
        files = [file._replace(name=file.name.removeprefix(prefix)) for file in inside]
        return Listing(root=self.path(folder), files=files)

    def fingerprint(self, *others: object) -> str:
        """A short hash of its names, sizes and times, and of what else the caller knows."""
        return fingerprint_of([f"{name}:{size}:{changed}" for name, size, changed in self.files], *others)

    def sorted_out(self) -> "Listing":
        """Without what systems and textok leave in folders, which is counted; files that were named stay."""
        if not self.whole:
            return self
        sorted_out, ours = Listing(root=self.root, files=[]), _own_folders(self.root, self.files)
        for file in self.files:
            if reason := self._reason(file.name, ours):
                sorted_out.census.pass_over(reason, [shown_name(file.name)])
            else:
                sorted_out.files.append(file)
        return sorted_out

    def _reason(self, name: str, ours: tuple[str, ...]) -> str:
        if name.endswith("/"):
            return "folders that cannot be read"
        if name == MARKER or name.startswith(ours):
            return "written by textok"
        if LEFT_BY_SYSTEMS.search(name):
            return "left by systems"
        head = read_span(self.path(name), 0, _HEAD_BYTES) if _PAGES.search(name) else b""
        return "written by textok" if head.startswith(b"\x89PNG") and PAGE_MARK.encode() in head else ""


def list_files(source: str | Path, *, on_bad: str = "stop") -> Listing:
    """The files of a folder at any depth, a file alone, or those of a glob or brace notation, here or at an address.

    Folders that cannot be read raise with ``on_bad="stop"`` and are counted with "skip"; ``FileNotFoundError`` when
    nothing is there.
    """
    if is_remote(source):
        try:
            return _list_remote(str(source))
        except (OSError, ValueError):
            raise
        except Exception as error:  # of a missing library or key: each kind of address has its own
            raise OSError(f"{source}: cannot be read: {error}") from error
    if Path(source).is_dir():
        root = str(Path(source))
        return Listing(root=root, files=sorted(_walk(root, on_bad=on_bad)))
    paths = [Path(source)] if Path(source).exists() else [*map(Path, _expanded(str(source), glob.glob))]
    if not paths:
        raise FileNotFoundError(f"{source}: no such file, folder or glob")
    root = str(Path(os.path.commonpath([path.parent for path in paths])))
    files = [file_of(os.path.relpath(path, root), path.stat()) for path in paths if path.is_file()]
    return Listing(root=root, files=sorted(files), whole=False)


def is_remote(source: str | Path) -> bool:
    """Whether it is an address for fsspec, such as ``hf://`` or ``s3://``."""
    return "://" in str(source)


def join(root: str, name: str) -> str:
    """The path, or the address, of a name below a root."""
    return name if root == "." else f"{root.rstrip('/')}/{name}"


def open_file(path: str) -> Any:
    """Open a file, here or behind an address, to read bytes from any place of it: a binary stream."""
    if not is_remote(path):
        return open(path, "rb")
    import fsspec

    files, inner = fsspec.core.url_to_fs(path)
    return files.open(inner, "rb")


def read_span(path: str, offset: int, size: int) -> bytes:
    """So many bytes of a file, or fewer where it ends."""
    if is_remote(path):
        import fsspec

        files, inner = fsspec.core.url_to_fs(path)
        return files.cat_file(inner, start=offset, end=offset + size)
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


def shown_name(name: str) -> str:
    r"""A file name in Unicode: bytes that are not UTF-8 appear as ``\xe9``, so that different names stay different."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def listing(names: Sequence[str]) -> str:
    """The first few names, for error messages."""
    more = ", ..." if len(names) > 5 else ""
    return f"{len(names)} files ({', '.join(map(shown_name, names[:5]))}{more})" if names else "nothing"


def fingerprint_of(parts: Iterable[object], *others: object) -> str:
    """A short hash of what identifies each part of a data set, and of others such as the number of samples."""
    lines = map(str, [*parts, *others])
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:16]


def cache_folder(name: str) -> Path:
    """A folder in the user's cache folder; a temporary one where the home is missing or read-only, as in containers."""
    try:
        place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "textok"
        place.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, OSError):
        place = Path(tempfile.gettempdir()) / f"textok-of-{os.getuid()}" / "textok"
    return place / name


def fingerprint_files(paths: Sequence[Path], count: int) -> str:
    """A short hash of file names, sizes and the number of samples."""
    return fingerprint_of([f"{path.name}:{path.stat().st_size}" for path in paths], count)


def _walk(root: str, *, on_bad: str) -> Iterator[File]:
    folders, linked = [""], {os.path.realpath(root)}
    while folders:
        folder = folders.pop()
        prefix = f"{folder}/" if folder else ""
        try:
            entries = list(os.scandir(Path(root, folder)))
        except OSError:
            if on_bad == "stop":
                raise
            yield File(prefix, 0, "")
            continue
        for entry in entries:
            if entry.is_file():
                yield file_of(prefix + entry.name, entry.stat())
            elif not entry.is_dir():  # a link that leads nowhere, which is named as a bad sample
                yield File(prefix + entry.name, 0, "")
            elif not entry.is_symlink() or (real := os.path.realpath(entry.path)) not in linked:
                folders.append(prefix + entry.name)
                if entry.is_symlink():
                    linked.add(real)


def file_of(name: str, state: os.stat_result) -> File:
    """A file on this machine."""
    return File(name, state.st_size, f"{state.st_mtime_ns}:{state.st_ctime_ns}")


def _list_remote(source: str) -> Listing:
    import fsspec

    files, inner = fsspec.core.url_to_fs(source)
    whole = files.isdir(inner)
    found = [inner] if whole or files.exists(inner) else _expanded(inner, files.glob)
    if not found:
        raise FileNotFoundError(f"{source}: no such file, folder or glob")
    inner_root = inner if whole else os.path.commonpath([PurePosixPath(name).parent for name in found])
    details = files.find(inner, detail=True) if whole else {name: files.info(name) for name in found}
    entries = []
    for name, info in details.items():
        if info.get("type") == "file":
            changed = next((info[time] for time in _TIMES if info.get(time)), "")
            size = int(info.get("size") or 0)
            entries.append(File(os.path.relpath(name, inner_root), size, str(changed)))
    root = files.unstrip_protocol(inner_root)
    return Listing(root=root, files=sorted(entries), whole=whole)


def _expanded(pattern: str, find: Any) -> list[str]:
    return sorted({name for one in expand_braces(pattern) for name in find(one)})


def expand_braces(pattern: str) -> list[str]:
    """The names that brace notation stands for: ``a-{000..002}.tar``, ``{train,val}.tar``."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    start, _, end = match[1].partition("..")
    words = match[1].split(",")
    if start.isdigit() and end.isdigit():
        words = [f"{number:0{len(start)}d}" for number in range(int(start), int(end) + 1)]
    heads = [pattern[: match.start()] + word for word in words]
    return [head + rest for head in heads for rest in expand_braces(pattern[match.end() :])]


def _own_folders(root: str, files: list[File]) -> tuple[str, ...]:
    folders = []
    for file in files:
        folder, _, base = file.name.rpartition("/")
        is_run = base == "run.json" and not is_remote(root)
        if folder and (base == MARKER or (is_run and is_made_here(Path(root, file.name)))):
            folders.append(f"{folder}/")
    return tuple(folders)


def inside(name: object) -> bool:
    """Whether it names a file that lies inside of the folder which the name is relative to."""
    path = PurePosixPath(name) if isinstance(name, str) else None
    return path is not None and bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def announce(name: str, census: Census) -> None:
    """Print the census on stderr where there is something to say; once a process, by the first of several ranks."""
    line = f"{name}: {census}"
    if (census.passed or census.notes) and os.environ.get("RANK", "0") == "0" and line not in _announced:
        _announced.add(line)
        note(line)
