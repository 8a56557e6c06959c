"""Files of the ADM evaluation suite (Dhariwal and Nichol 2021): ``.npz`` sample batches and Inception statistics.

A batch holds ``arr_0``, uint8 pictures (n, h, w, 3); statistics hold ``mu`` (d,) and ``sigma`` (d, d); published
references hold both. Reading and writing them lets our samples be scored against published references, and by
published evaluators. Nothing is unpickled, and the header of an array is checked before the array is read.
"""

import math
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from textok.evaluation.metrics.sets import FeatureStatistics
from textok.writing import replacing

MAX_BYTES = 16 * 2**30
"""Largest array that is read: 50,000 pictures of 256 px take 9.2 GiB."""

UNKNOWN_COUNT = 2
"""Count of statistics of an unknown number of pictures: the fewest that have a covariance."""

_MAX_COUNT = 2**53
_MAX_ABS = 1e30  # of a mean or a covariance: squares of larger ones overflow
_MAX_DEFLATION = 1032  # bytes that deflate can pack into one, at most
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_LISTED = 8  # names in a message


class AdmFile(NamedTuple):
    """The content of an ``.npz``, at least one of the two. Statistics may be of more pictures than the file holds;
    published ones have no count and get ``UNKNOWN_COUNT``.
    """

    pictures: UInt8[Tensor, "n 3 h w"] | None
    statistics: FeatureStatistics | None


class UnfitFileError(ValueError):
    """A file that is not one of the suite; the message is one sentence."""


def read_adm(path: str | Path, *, max_bytes: int = MAX_BYTES) -> AdmFile:
    """Pictures, statistics, or both; ``UnfitFileError`` for another file, or an array larger than ``max_bytes``."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected an .npz file of the ADM evaluation suite")
    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files of Python 2, and old names of dtypes
            arrays = _Arrays(archive=archive, path=path, max_bytes=max_bytes)
            names = arrays.names
            pictures = _pictures(arrays) if "arr_0" in names else None
            statistics = _statistics(arrays) if {"mu", "sigma"} <= set(names) else None
    except UnfitFileError:
        raise
    except Exception as error:  # zipfile and numpy raise nearly anything on damaged bytes
        raise UnfitFileError(
            f"{path}: not a readable .npz file ({error}), expected one of the ADM suite"
        ) from error
    if pictures is None and statistics is None:
        listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
        raise UnfitFileError(
            f"{path}: got arrays {listed or '(none)'}, expected arr_0 (uint8 pictures, "
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
    pictures = arrays.read(
        "arr_0",
        lambda shape, dtype: dtype == np.uint8 and len(shape) == 4 and shape[3] == 3 and math.prod(shape) > 0,
        expected="uint8 pictures, n x height x width x 3",
    )
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def _statistics(arrays: "_Arrays") -> FeatureStatistics:
    mean = arrays.read_numbers("mu", lambda shape: len(shape) == 1 and shape[0] > 0, form="(channels,)")
    covariance = arrays.read_numbers("sigma", lambda shape: shape == mean.shape * 2, form=f"{mean.shape * 2}")
    # Eigenvalue routines read only one triangle: the other one must be the same.
    if not np.allclose(covariance, covariance.T, rtol=1e-3, atol=1e-6 * np.abs(covariance).max()):
        raise UnfitFileError(f"{arrays.path}, sigma: is not symmetric, expected a covariance")
    if covariance.diagonal().min() < 0:
        raise UnfitFileError(f"{arrays.path}, sigma: has a negative variance, expected a covariance")
    count = UNKNOWN_COUNT
    if "count" in arrays.names:
        expected = f"one integer, {UNKNOWN_COUNT} or more"
        count = int(
            arrays.read("count", lambda shape, dtype: not shape and dtype.kind in "iu", expected=expected)
        )
        if not UNKNOWN_COUNT <= count <= _MAX_COUNT:
            raise UnfitFileError(f"{arrays.path}, count: got {count}, expected {expected}")
    return FeatureStatistics.from_moments(torch.from_numpy(mean), torch.from_numpy(covariance), count)


@dataclass(frozen=True, kw_only=True)
class _Arrays:
    archive: zipfile.ZipFile
    path: Path
    max_bytes: int

    @property
    def names(self) -> list[str]:
        return [name.removesuffix(".npy") for name in self.archive.namelist() if name.endswith(".npy")]

    def read(
        self, name: str, fits: Callable[[tuple[int, ...], np.dtype], bool], *, expected: str
    ) -> np.ndarray:
        """An array, whose header fits and agrees with the size of what is stored."""
        entry = self.archive.getinfo(f"{name}.npy")
        with self.archive.open(entry) as file:
            version = np.lib.format.read_magic(file)
            if version not in _HEADERS:
                raise ValueError(f"an array of format {version}, expected 1.0 or 2.0")
            shape, _, dtype = _HEADERS[version](file)
            stored = entry.file_size - file.tell()
        header, size = f"{dtype} {shape}", math.prod(shape) * dtype.itemsize
        if dtype.hasobject or not dtype.itemsize or min(shape, default=0) < 0 or not fits(shape, dtype):
            raise UnfitFileError(f"{self.path}, {name}: got {header}, expected {expected}")
        if size > self.max_bytes:
            raise UnfitFileError(
                f"{self.path}, {name}: got {header}, {size:,} bytes, expected at most {self.max_bytes:,}"
            )
        if size != stored or entry.file_size > _MAX_DEFLATION * self.path.stat().st_size:
            raise UnfitFileError(
                f"{self.path}, {name}: got {stored:,} bytes of {size:,} for {header}; the file is cut short or "
                "damaged: fetch it again"
            )
        with self.archive.open(entry) as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    def read_numbers(self, name: str, fits: Callable[[tuple[int, ...]], bool], *, form: str) -> np.ndarray:
        expected = f"finite floating-point numbers up to {_MAX_ABS:g}, {form}"
        array = self.read(name, lambda shape, dtype: fits(shape) and dtype.kind == "f", expected=expected)
        values = np.ascontiguousarray(array, dtype=np.float64)
        if not (np.abs(values) <= _MAX_ABS).all():  # NaN is not
            raise UnfitFileError(f"{self.path}, {name}: got {array.dtype} {array.shape}, expected {expected}")
        return values
