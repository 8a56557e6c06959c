"""Files of the ADM evaluation suite (Dhariwal and Nichol 2021): ``.npz`` sample batches and Inception statistics.

A batch holds ``arr_0``, uint8 pictures (n, h, w, 3); statistics hold ``mu`` (d,) and ``sigma`` (d, d). So
published reference files can be read, and published evaluators can be run on our samples. Nothing is unpickled,
and what an array says of its size is checked before it is read.
"""

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from textok.evaluation.metrics.frechet import FeatureStatistics
from textok.writing import replacing

MAX_BYTES = 16 * 2**30
"""Largest array that is read: 50,000 pictures of 256 px take 9.2 GiB."""

UNTOLD_COUNT = 2
"""Count of statistics that do not tell how many pictures they are of: the fewest that have a covariance."""


def read_reference(
    path: str | Path, *, max_bytes: int = MAX_BYTES
) -> FeatureStatistics | UInt8[Tensor, "n 3 h w"]:
    """Statistics where the file has them, else its pictures.

    Published statistics tell no count. They are given ``UNTOLD_COUNT``: distances to them are right, but do
    not add them to others. Ours (``write_statistics``) tell it.

    Args:
        path: the ``.npz`` file.
        max_bytes: larger arrays are refused.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not such a file; the message names the array and what was expected of it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected an .npz file of the ADM evaluation suite")
    with _opened(path) as archive:
        names = {Path(name).stem for name in archive.namelist()}
        if {"mu", "sigma"} <= names:
            return _statistics(archive, path, names, max_bytes=max_bytes)
        if "arr_0" not in names:
            raise ValueError(
                f"{path}: got arrays {', '.join(sorted(names)) or '(none)'}; expected arr_0 (uint8 pictures, "
                "n x height x width x 3) or mu and sigma (feature statistics)"
            )
        pictures = _read(archive, "arr_0", path=path, max_bytes=max_bytes)
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3 or not pictures.size:
        raise _misfit(path, "arr_0", pictures, expected="uint8 pictures, n x height x width x 3")
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def write_samples(path: str | Path, images: UInt8[Tensor, "n 3 h w"]) -> None:
    """Write uint8 pictures (n, 3, h, w) as ``arr_0`` (n, h, w, 3), for a published evaluator."""
    pictures = np.ascontiguousarray(images.cpu().permute(0, 2, 3, 1).numpy())
    _write(Path(path), arr_0=pictures)


def write_statistics(path: str | Path, statistics: FeatureStatistics) -> None:
    """Write ``mu`` and ``sigma`` in float64, and beside them ``count``, the number of pictures."""
    mean, covariance = statistics.mean.cpu().numpy(), statistics.covariance.cpu().numpy()
    _write(Path(path), mu=mean, sigma=covariance, count=np.int64(statistics.count))


def _write(path: Path, **arrays: np.ndarray | np.generic) -> None:
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)  # pyrefly: ignore[bad-argument-type]


def _statistics(
    archive: zipfile.ZipFile, path: Path, names: set[str], *, max_bytes: int
) -> FeatureStatistics:
    mean = _read(archive, "mu", path=path, max_bytes=max_bytes)
    covariance = _read(archive, "sigma", path=path, max_bytes=max_bytes)
    for name, array, shape in (("mu", mean, mean.shape[:1]), ("sigma", covariance, mean.shape * 2)):
        if array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise _misfit(
                path, name, array, expected=f"finite floating-point numbers, {shape or '(channels,)'}"
            )
    count = _read(archive, "count", path=path, max_bytes=64) if "count" in names else np.int64(UNTOLD_COUNT)
    if count.ndim or count.dtype.kind not in "iu" or count < UNTOLD_COUNT:
        raise ValueError(f"{path}, count: got {count}; expected one integer, {UNTOLD_COUNT} or more")
    return FeatureStatistics.from_moments(torch.from_numpy(mean), torch.from_numpy(covariance), int(count))


def _read(archive: zipfile.ZipFile, name: str, *, path: Path, max_bytes: int) -> np.ndarray:
    """One array of the file, after its header's word on its size was found right and small enough."""
    entry = archive.getinfo(f"{name}.npy")
    with archive.open(entry) as file:
        shape, dtype = _header(file)
        stored = entry.file_size - file.tell()
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or size != stored:
        raise ValueError(
            f"{path}, {name}: got {stored} bytes for an array of {dtype} {shape}; the file is cut short, damaged or "
            "holds Python objects: fetch it again"
        )
    if size > max_bytes:
        raise ValueError(
            f"{path}, {name}: got {dtype} {shape}, {size} bytes; expected at most {max_bytes} (argument max_bytes)"
        )
    with archive.open(entry) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, _, dtype = readers[np.lib.format.read_magic(file)](file)
    except ValueError as error:
        raise zipfile.BadZipFile(f"an array without a header: {error}") from error
    return shape, dtype


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise ValueError(
            f"{path}: not a readable .npz file ({error}); expected one of the ADM suite"
        ) from error


def _misfit(path: Path, name: str, array: np.ndarray, *, expected: str) -> ValueError:
    return ValueError(f"{path}, {name}: got {array.dtype} {array.shape}; expected {expected}")
