"""Files of the ADM evaluation suite (Dhariwal and Nichol 2021): ``.npz`` sample batches and Inception statistics.

A batch holds ``arr_0``, uint8 pictures (n, h, w, 3); statistics hold ``mu`` (d,) and ``sigma`` (d, d); published
references hold both. So they can be read, and published evaluators can be run on our samples. Nothing is unpickled,
and what an array says of itself is checked before it is read.
"""

import math
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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

_MAX_COUNT = 2**53
_LARGEST = 1e30  # of a mean or a covariance: squares of larger ones overflow
_MAX_DEFLATION = 1032  # what deflate makes of a byte, at most
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_LISTED = 8  # names in a message


@dataclass(frozen=True, kw_only=True)
class AdmFile:
    """What an ``.npz`` of the suite holds: at least one of them.

    Attributes:
        pictures: of ``arr_0``, uint8 (n, 3, h, w).
        statistics: of ``mu`` and ``sigma``, which may be those of other, more pictures. Published ones tell no
            count and are given ``UNTOLD_COUNT``: distances to them are right, but do not add them to others.
    """

    pictures: UInt8[Tensor, "n 3 h w"] | None
    statistics: FeatureStatistics | None


class UnfitFileError(ValueError):
    """A file that is not one of the suite, told in one sentence."""


def read_adm(path: str | Path, *, max_bytes: int = MAX_BYTES) -> AdmFile:
    """Pictures, statistics, or both.

    Args:
        path: the ``.npz`` file.
        max_bytes: larger arrays are refused.

    Raises:
        FileNotFoundError: when there is no such file.
        UnfitFileError: when it is not such a file; the message names the array and what was expected of it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected an .npz file of the ADM evaluation suite")
    with _opened(path) as archive:
        arrays = _Arrays(archive=archive, path=path, max_bytes=max_bytes)
        names = arrays.names
        pictures = _pictures(arrays) if "arr_0" in names else None
        statistics = _statistics(arrays) if {"mu", "sigma"} <= set(names) else None
    if pictures is None and statistics is None:
        listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
        raise UnfitFileError(
            f"{path}: got arrays {listed or '(none)'}; expected arr_0 (uint8 pictures, "
            "n x height x width x 3), or mu and sigma (feature statistics), or all three"
        )
    return AdmFile(pictures=pictures, statistics=statistics)


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


def _pictures(arrays: "_Arrays") -> UInt8[Tensor, "n 3 h w"]:
    expected = "uint8 pictures, n x height x width x 3"
    shape, dtype = arrays.header("arr_0", expected=expected)
    if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or not math.prod(shape):
        raise arrays.misfit("arr_0", shape, dtype, expected=expected)
    return torch.from_numpy(arrays.read("arr_0")).permute(0, 3, 1, 2)


def _statistics(arrays: "_Arrays") -> FeatureStatistics:
    mean = _numbers(arrays, "mu", shape=None)
    covariance = _numbers(arrays, "sigma", shape=mean.shape * 2)
    # Only one triangle is read by eigenvalue routines: what the other says must be the same.
    if not np.allclose(covariance, covariance.T, rtol=1e-3, atol=1e-6 * np.abs(covariance).max()):
        raise UnfitFileError(f"{arrays.path}, sigma: is not symmetric; expected a covariance")
    if covariance.diagonal().min() < 0:
        raise UnfitFileError(f"{arrays.path}, sigma: has a negative variance; expected a covariance")
    count = _count(arrays) if "count" in arrays.names else UNTOLD_COUNT
    return FeatureStatistics.from_moments(torch.from_numpy(mean), torch.from_numpy(covariance), count)


def _numbers(arrays: "_Arrays", name: str, *, shape: tuple[int, ...] | None) -> np.ndarray:
    """Finite numbers of this shape in float64; of any length when it is None."""
    expected = f"finite floating-point numbers up to {_LARGEST:g}, {shape or '(channels,)'}"
    found, dtype = arrays.header(name, expected=expected)
    fits = found == shape if shape else len(found) == 1 and found[0] > 0
    if not fits or dtype.kind != "f":
        raise arrays.misfit(name, found, dtype, expected=expected)
    values = np.ascontiguousarray(arrays.read(name), dtype=np.float64)
    if not (np.abs(values) <= _LARGEST).all():  # NaN is not
        raise arrays.misfit(name, found, dtype, expected=expected)
    return values


def _count(arrays: "_Arrays") -> int:
    expected = f"one integer, {UNTOLD_COUNT} or more"
    shape, dtype = arrays.header("count", expected=expected)
    if shape or dtype.kind not in "iu":
        raise arrays.misfit("count", shape, dtype, expected=expected)
    count = int(arrays.read("count"))
    if not UNTOLD_COUNT <= count <= _MAX_COUNT:
        raise UnfitFileError(f"{arrays.path}, count: got {count}; expected {expected}")
    return count


@dataclass(frozen=True, kw_only=True)
class _Arrays:
    """The arrays of an open ``.npz``."""

    archive: zipfile.ZipFile
    path: Path
    max_bytes: int

    @property
    def names(self) -> list[str]:
        return [name.removesuffix(".npy") for name in self.archive.namelist() if name.endswith(".npy")]

    def header(self, name: str, *, expected: str) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and type, after the header's word on its size was found right and small enough."""
        entry = self.archive.getinfo(f"{name}.npy")
        with self.archive.open(entry) as file:
            shape, dtype = _header(file)
            stored = entry.file_size - file.tell()
        if dtype.hasobject or not dtype.itemsize or min(shape, default=0) < 0:
            raise self.misfit(name, shape, dtype, expected=expected)
        size = math.prod(shape) * dtype.itemsize
        if size > self.max_bytes:
            raise UnfitFileError(
                f"{self.path}, {name}: got {dtype} {shape}, {size:,} bytes; expected at most {self.max_bytes:,}"
            )
        if size != stored or entry.file_size > _MAX_DEFLATION * self.path.stat().st_size:
            raise UnfitFileError(
                f"{self.path}, {name}: {dtype} {shape} are {size:,} bytes, but the file has not as many; it is cut "
                "short or damaged: fetch it again"
            )
        return shape, dtype

    def read(self, name: str) -> np.ndarray:
        """An array whose header was checked."""
        with self.archive.open(f"{name}.npy") as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    def misfit(self, name: str, shape: tuple[int, ...], dtype: np.dtype, *, expected: str) -> UnfitFileError:
        """The error of an array that is another one than asked for."""
        return UnfitFileError(f"{self.path}, {name}: got {dtype} {shape}; expected {expected}")


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"an array of format {version}; expected 1.0 or 2.0")
    shape, _, dtype = _HEADERS[version](file)
    return shape, dtype


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Python 2 wrote it, or that the name of a type is old
            yield archive
    except UnfitFileError:
        raise
    except Exception as error:  # zipfile and numpy raise nearly anything on damaged bytes
        raise UnfitFileError(
            f"{path}: not a readable .npz file ({error}); expected one of the ADM suite"
        ) from error
