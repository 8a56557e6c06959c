"""Files of a data set: finding them, naming what was found, and their fingerprint."""

import glob
import hashlib
from collections.abc import Sequence
from pathlib import Path

MAX_IMAGE_BYTES = 256 << 20
MAX_TEXT_BYTES = 1 << 20


def find_files(source: str | Path) -> list[Path]:
    """The file itself, the matches of a glob, or what lies in a folder; sorted by name.

    Raises:
        FileNotFoundError: when nothing is there.
    """
    path = Path(source)
    if path.is_dir():
        return sorted(path.iterdir())
    found = [path] if path.exists() else sorted(Path(name) for name in glob.glob(str(source)))
    if not found:
        raise FileNotFoundError(f"{source}: no such file, folder or glob")
    return found


def listing(paths: Sequence[Path]) -> str:
    """The first few names, for error messages."""
    names = [path.name for path in paths[:5]]
    return (
        f"{len(paths)} files ({', '.join(names)}{', ...' if len(paths) > 5 else ''})" if names else "nothing"
    )


def fingerprint_files(paths: Sequence[Path], count: int) -> str:
    """Short hash of file names, sizes and the number of samples."""
    lines = [f"{path.name}:{path.stat().st_size}" for path in paths]
    return hashlib.sha256("\n".join([*lines, str(count)]).encode()).hexdigest()[:16]
