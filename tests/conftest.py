"""What several rooms need to make their data."""

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest


def _write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(scope="session")
def write_tar() -> Callable[[Path, Mapping[str, bytes]], Path]:
    """Write a tar of these members."""
    return _write_tar
