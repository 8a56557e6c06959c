"""Where the samples of a tar are: found once by reading its headers, and kept on disk for large tars."""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from textok.writing import replacing

PARTS = ("image", "json", "txt", "cls")
IMAGE_ENDINGS = ("webp", "png", "jpg", "jpeg")
# Smaller tars are indexed anew each time: that takes about 0.05 s per thousand samples.
KEPT_FROM_BYTES = 64 << 20


@dataclass(frozen=True)
class TarIndex:
    """The samples of a tar.

    Attributes:
        keys: (n,) sample names, as UTF-8 bytes.
        spans: (n, parts, 2) int64, byte offset and size of each of ``PARTS``; offset -1 = not there.
    """

    keys: np.ndarray
    spans: np.ndarray


def index_tar(path: Path, *, image_ending: str | None = None) -> TarIndex:
    """Find the samples of a plain tar; the index of a large tar is kept in the user's cache folder.

    Args:
        path: the tar.
        image_ending: the ending of the pictures; None takes webp, png, jpg and jpeg.

    Raises:
        ValueError: when the tar is damaged, compressed, holds a key twice, or has no picture.
    """
    endings = IMAGE_ENDINGS if image_ending is None else (image_ending.lower().lstrip("."),)
    state = path.stat()
    if state.st_size < KEPT_FROM_BYTES:
        return _scan(path, endings)
    identity = [str(path.resolve()), state.st_size, state.st_mtime_ns, *endings]
    kept = _cache_folder() / f"{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]}.json"
    index = _load(kept, limit=state.st_size)
    if index is None:
        index = _scan(path, endings)
        _save(index, kept)
    return index


def _scan(path: Path, endings: tuple[str, ...]) -> TarIndex:
    spans: dict[str, np.ndarray] = {}
    seen: set[str] = set()
    for name, offset, size in _members(path):
        key, ending = _split_name(name)
        seen.add(ending)
        part = "image" if ending in endings else ending
        if part in PARTS:
            span = spans.setdefault(key, np.full((len(PARTS), 2), -1, dtype=np.int64))
            if span[PARTS.index(part), 0] >= 0:
                raise ValueError(f"{path}: key '{key}' has two members for '{part}'; keys must be unique")
            span[PARTS.index(part)] = offset, size
    if not any(span[0, 0] >= 0 for span in spans.values()):
        raise ValueError(
            f"{path}: no pictures: found endings {sorted(seen)}, expected one of {list(endings)}"
        )
    return TarIndex(keys=np.array([key.encode() for key in spans]), spans=np.stack(list(spans.values())))


def _members(path: Path) -> Iterator[tuple[str, int, int]]:
    try:
        with tarfile.open(path, "r:", errors="replace") as tar:
            for member in tar:
                if member.size < 0:
                    raise tarfile.ReadError(f"member '{member.name}' has a negative size")
                if member.isreg() and not member.issparse():
                    yield member.name, member.offset_data, member.size
                tar.members = []  # pyrefly: ignore[missing-attribute]  keeps no second copy of the list
            _check_end(path, tar.offset)
    except tarfile.TarError as error:
        raise ValueError(
            f"{path}: not a whole, uncompressed tar ({error}); expected a plain .tar: "
            "decompress a .tar.gz, or download a damaged file again"
        ) from error


def _check_end(path: Path, offset: int) -> None:
    # tarfile takes a damaged header for the end of the archive and would silently lose the rest.
    with open(path, "rb") as file:
        file.seek(offset)
        if any(file.read(tarfile.BLOCKSIZE)):
            raise tarfile.ReadError(f"damaged header at byte {offset}")


def _split_name(name: str) -> tuple[str, str]:
    # the webdataset rule: the ending starts at the first dot of the base name
    path = PurePosixPath(name)
    stem, _, ending = path.name.partition(".")
    return str(path.parent / stem), ending.lower()


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "textok" / "tar-index"


def _load(kept: Path, *, limit: int) -> TarIndex | None:
    """A kept index; None when there is none or it is not sound."""
    try:
        content = json.loads(kept.read_text())
        keys = np.array([key.encode() for key in content["keys"]])
        spans = np.array(content["spans"], dtype=np.int64).reshape(len(keys), len(PARTS), 2)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
    return TarIndex(keys=keys, spans=spans) if len(keys) and spans.sum(-1).max() <= limit else None


def _save(index: TarIndex, kept: Path) -> None:
    content = {
        "keys": [key.decode() for key in index.keys.tolist()],
        "spans": index.spans.reshape(-1).tolist(),
    }
    # no room or no permission: the index is only a saving of time
    with suppress(OSError), replacing(kept, shared=True) as temporary:
        temporary.write_text(json.dumps(content))
