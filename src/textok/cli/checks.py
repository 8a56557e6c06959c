"""Checks of the values of options before any work; ``ValueError`` names the first option that is wrong."""

import os
from pathlib import Path

from textok.data.images import DEFAULT_MAX_PIXELS
from textok.writing import check_target


def at_least(least: int, **values: int | None) -> None:
    """Check that every given number is so large; None is not given."""
    for name, value in values.items():
        if value is not None and value < least:
            raise ValueError(f"{name}: got {value}, expected at least {least}")


def seed(value: int) -> None:
    """Check that torch takes a seed."""
    if not 0 <= value < 2**63:
        raise ValueError(f"seed: got {value}, expected 0 to {2**63 - 1}")


def size(pixels: tuple[int, int] | None, *, patch: int = 1) -> None:
    """Check that a height and width are those of a picture, and multiples of a model's patch."""
    if pixels is None:
        return
    height, width = pixels
    if min(pixels) < 1 or height * width > DEFAULT_MAX_PIXELS:
        raise ValueError(
            f"size: got {height} {width}, expected height and width in pixels, at least 1, together at most "
            f"{DEFAULT_MAX_PIXELS:,} pixels"
        )
    if height % patch or width % patch:
        raise ValueError(f"size: got {height} {width}, expected multiples of the model's patch, {patch} px")


def needs(*, absent: bool, by: str, **values: object) -> None:
    """Check that options come with the one that they say more about, named ``by``; None and False are not given."""
    for name, value in values.items():
        if absent and value not in (None, False):
            raise ValueError(f"{name}: got {value!r} without {by}, expected both or none")


def files(**asked: Path | None) -> None:
    """Check that files can be written where they are asked for, and are none of the user's; makes nothing.

    Raises ``OSError`` too, when their folder is not writable or full.
    """
    for name, file in asked.items():
        if file is not None:
            folders(**{name: file.parent})
            if file.is_dir():
                raise ValueError(f"{name}: got {file}, which is a folder, expected a file to write")
            check_target(file, option=name, overwrite=file.suffix == ".npz")  # in which there is no mark


def folders(**asked: Path | None) -> None:
    """Check that folders are there or can be made; makes nothing."""
    for name, folder in asked.items():
        if folder is None:
            continue
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
        if not nearest.is_dir():
            raise ValueError(f"{name}: got {nearest}, which is a file, expected a folder")
        if not os.access(nearest, os.W_OK):
            raise PermissionError(f"{name}: got {nearest}, which is not writable; choose another place")
