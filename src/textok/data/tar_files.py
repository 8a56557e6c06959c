"""Tar files of samples, written whole or not at all and of the same bytes each time."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from textok.writing import replacing


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write a tar of files by name, one after another."""
    with replacing(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
