"""What the values of options must be: checked before any work is done with them."""

import os
from pathlib import Path

from textok.data.images import DEFAULT_MAX_PIXELS
from textok.writing import check_target

MAX_SEED = 2**63 - 1


def check_at_least(least: int, **values: int | None) -> None:
    """Check that every given number is so large; None stands for an option that is not given.

    ``ValueError`` names the first one that is not.
    """
    for name, value in values.items():
        if value is not None and value < least:
            raise ValueError(f"{name}: got {value}, expected at least {least}")


def check_seed(seed: int) -> None:
    """Check that torch takes a seed; ``ValueError`` when it does not."""
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed: got {seed}, expected 0 to {MAX_SEED}")


def check_size(size: tuple[int, int] | None, *, patch: int = 1) -> None:
    """Check that a height and width are those of a picture, and multiples of a model's patch.

    ``ValueError`` when they are not.
    """
    if size is None:
        return
    if min(size) < 1 or size[0] * size[1] > DEFAULT_MAX_PIXELS:
        raise ValueError(
            f"size: got {size[0]} {size[1]}, expected height and width in pixels, at least 1, together at most "
            f"{DEFAULT_MAX_PIXELS:,} pixels"
        )
    if size[0] % patch or size[1] % patch:
        raise ValueError(
            f"size: got {size[0]} {size[1]}, expected multiples of the model's patch, {patch} px"
        )


def check_needs(*, absent: bool, by: str, **values: object) -> None:
    """Check that an option which only says more about another one comes with it.

    Args:
        absent: whether that other one is not given.
        by: its name.
        **values: the options that need it; None and False are not given.

    Raises:
        ValueError: names the first that stands alone.
    """
    for name, value in values.items():
        if absent and value not in (None, False):
            raise ValueError(f"{name}: got {value!r} without {by}, expected both or none")


def check_files(**files: Path | None) -> None:
    """Check that files can be written where they are asked for, and are none of the user's; makes nothing.

    Raises:
        ValueError: when a folder is there, a file where its folder should be, or a file that textok did not make.
        OSError: when the folder is not writable or full.
    """
    for name, file in files.items():
        if file is not None:
            check_folders(**{name: file.parent})
            if file.is_dir():
                raise ValueError(f"{name}: got {file}, which is a folder, expected a file to write")
            check_target(file, option=name, overwrite=file.suffix == ".npz")  # in which there is no mark


def check_folders(**folders: Path | None) -> None:
    """Check that folders are there or can be made; makes nothing. Raises as :func:`check_files`."""
    for name, folder in folders.items():
        if folder is None:
            continue
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
        if not nearest.is_dir():
            raise ValueError(f"{name}: got {nearest}, which is a file, expected a folder")
        if not os.access(nearest, os.W_OK):
            raise PermissionError(f"{name}: got {nearest}, which is not writable; choose another place")
