"""Where the members of a tar are, by its headers."""

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

from textok.data.files import File, cache_folder, fingerprint_of, is_remote, open_file, read_span
from textok.writing import foreign_content, replacing

TAR_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tbz2", ".txz")
_MAGIC = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}

Member = tuple[str, int, int, int]
"""Name, first byte, size, and the time when it was changed last."""


def plain_tar(path: str, file: File) -> str:
    """The tar itself, or a compressed one unpacked once into the cache folder; ``ValueError`` for no whole tar."""
    head = read_span(path, 0, 512)
    foreign = foreign_content(head)
    if foreign is not None:
        raise ValueError(f"{path}: got {foreign}; expected a tar")
    unpack = next((unpack for magic, unpack in _MAGIC.items() if head.startswith(magic)), None)
    if unpack is None:
        return path
    where = path if is_remote(path) else os.path.realpath(path)
    target = cache_folder("tars") / f"{fingerprint_of([where, file.size, file.changed])}.tar"
    if target.is_file():
        return str(target)
    try:
        with (
            open_file(path) as packed,
            unpack(packed) as content,
            replacing(target, shared=True) as temporary,
            open(temporary, "wb") as out,
        ):
            shutil.copyfileobj(content, out, 1 << 20)
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise ValueError(f"{path}: damaged compressed tar ({error}); download it again") from error
    return str(target)


def tar_members(path: str, file: File) -> list[Member]:
    """The regular members of a plain tar, also of several joined into one file; ``ValueError`` for a damaged one."""
    size = file.size if is_remote(path) else Path(path).stat().st_size
    members, start = list[Member](), 0
    with open_file(path) as stream:
        try:
            while start is not None:
                start = _add_members(members, stream, start, size)
        except (tarfile.TarError, MemoryError, OverflowError) as error:  # a name may be said to have exabytes
            raise ValueError(
                f"{path}: not a whole tar ({error}); download it again, or pack it anew"
            ) from error
    return members


def _add_members(members: list[Member], file: Any, start: int, size: int) -> int | None:
    """Those of the tar that begins at ``start``; returns where another one begins."""
    file.seek(start)
    with tarfile.open(fileobj=file, mode="r:", errors="surrogateescape") as tar:
        for member in tar:
            if member.size < 0:
                raise tarfile.ReadError(f"member '{member.name}' has a negative size")
            if member.isreg() and not member.issparse():
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError(f"it ends inside '{member.name}'")
                members.append((member.name, member.offset_data, member.size, int(member.mtime)))
            tar.members = []  # pyrefly: ignore[missing-attribute]  keeps no second copy of the list
        following = _next_start(file, tar.offset)
    if following == start:  # Python 3.11.2 passes over such a header in silence, again and again
        raise tarfile.ReadError(f"damaged header at byte {start}")
    return following


def _next_start(file: Any, offset: int) -> int | None:
    file.seek(offset)
    block, zeros = file.read(tarfile.BLOCKSIZE), 0
    while block and not any(block):
        block, zeros = file.read(tarfile.BLOCKSIZE), zeros + 1
    if not block:
        return None
    place = offset + zeros * tarfile.BLOCKSIZE
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise tarfile.ReadError(f"damaged header at byte {place}") from error
    return place
