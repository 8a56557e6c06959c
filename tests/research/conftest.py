"""A few drawings with captions, in the parts that studies read."""

import io
import tarfile
from pathlib import Path

import pytest

VAL = Path(__file__).parents[2] / "datasets/icons-128/val-000000.tar"
PARTS = ("train", "val", "test-drawing", "test-concept")


@pytest.fixture(scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen of each part."""
    folder = tmp_path_factory.mktemp("study-pictures")
    for place, part in enumerate(PARTS):
        _write_part(folder / f"{part}-000000.tar", first=16 * place, count=16)
    return folder


def _write_part(path: Path, *, first: int, count: int) -> None:
    with tarfile.open(VAL) as source, tarfile.open(path, "w") as target:
        for i in range(first, first + count):
            for ending in ("webp", "json"):
                info = source.getmember(f"val-{i:06d}.{ending}")
                target.addfile(info, io.BytesIO(source.extractfile(info).read()))
