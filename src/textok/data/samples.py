"""The one sample schema: what every source hands out, what a batch holds, and how a bad sample is told."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8
from torch import Tensor

from textok.data.files import Census
from textok.display import note
from textok.writing import write_text


@runtime_checkable
class DrawnPicture(Protocol):
    """A picture that is not stored but drawn, at any size."""

    def draw(self, size: tuple[int, int]) -> UInt8[Tensor, "3 h w"]:
        """RGB pixels; raises ``ValueError`` for a size that cannot be drawn."""


@dataclass(frozen=True, kw_only=True)
class RawSample:
    """A stored sample, not decoded yet; its key is unique within its shard.

    Attributes:
        shard: file that holds it; error messages name it.
        image: the encoded picture (WebP, PNG, JPEG, ...), or one to be drawn.
        captions: none, one or several of the same picture.
        label: of its class, if the source has such.
        facts: what the picture shows as one line of JSON, if the source has such; see ``data.scenes.facts``.
    """

    key: str
    shard: str
    image: bytes | DrawnPicture
    captions: tuple[str, ...] = ()
    label: int | None = None
    facts: str = ""


class Source(ABC):
    """Stored samples by number. Reading decodes nothing; the same number always gives the same sample.

    Attributes:
        shard_lengths: samples in each shard, in order; shuffling keeps windows of shards together.
        max_window: how many shards it can serve in mixed order cheaply; None = all, 0 = the samples are independent
            draws that need no other order.
        fingerprint: hash of file names, sizes and times (of tars: of their members), and the sample count.
        census: what is read and what is passed over.
        splits: how many samples each part has; empty when it is one whole.
    """

    shard_lengths: Sequence[int]
    max_window: int | None = None
    fingerprint: str
    census: Census
    splits: Mapping[str, int] = MappingProxyType({})

    def __len__(self) -> int:
        """How many samples there are."""
        return sum(self.shard_lengths)

    @abstractmethod
    def read(self, index: int) -> RawSample:
        """The sample at ``index``; raises :class:`BadSampleError` when it cannot be read."""

    def keys(self) -> Iterator[str]:
        """The key of every sample, in order; a source that does not list them reads the samples."""
        return (self.read(index).key for index in range(len(self)))

    def captions(self) -> Iterator[str]:
        """Every caption of every sample, in order; of stored samples without touching the pictures."""
        for index in range(len(self)):
            yield from self.read(index).captions


class SourceSubset(Source):
    """Samples of a source by their numbers, in that order, as a source; of one with a window they must ascend."""

    def __init__(self, source: Source, places: Sequence[int]) -> None:
        self._source, self._places = source, list(places)
        self.shard_lengths, self.max_window = [len(self._places)], None
        if source.max_window is not None:  # cheap in the order of its shards only
            ends = np.cumsum(source.shard_lengths)
            shards = np.searchsorted(ends, self._places, side="right")
            self.shard_lengths = [count for count in np.bincount(shards).tolist() if count]
            self.max_window = source.max_window
        self.fingerprint, self.census, self.splits = source.fingerprint, source.census, source.splits

    def read(self, index: int) -> RawSample:
        """The sample at ``index`` of the subset; raises as the source does."""
        return self._source.read(self._places[index])

    def keys(self) -> Iterator[str]:
        """The key of every sample of the subset."""
        return map(list(self._source.keys()).__getitem__, self._places)


def spread(source: Source, count: int | None) -> Source:
    """At most ``count`` samples (None: all) at even distances: the first of a sorted source are of one kind."""
    total = len(source)
    if count is None or count >= total:
        return source
    return SourceSubset(source, [(2 * i + 1) * total // (2 * count) for i in range(count)])


@dataclass(frozen=True, kw_only=True)
class Sample(RawSample):
    """A decoded sample: RGB of the asked size, 0..255, and the hashes of what was read, see ``data.contents``."""

    image: UInt8[Tensor, "3 h w"]
    content: str = ""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples side by side: contiguous pictures, RGB in 0..255, and of each what there is.

    "" stands for no caption or facts; labels are None unless all have one; contents are hashes of what was read.
    """

    images: UInt8[Tensor, "b 3 h w"]
    captions: list[str]
    keys: list[str]
    labels: Int[Tensor, "b"] | None = None
    facts: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, kw_only=True)
class BadSample:
    """A sample that cannot be used: where it is and why, and the hashes of what was read, if anything was."""

    key: str
    shard: str
    reason: str
    content: str = ""


class SplitError(ValueError):
    """A source has no part of the asked name; ``splits`` are those that it has."""

    def __init__(self, where: object, split: str | None, splits: Iterable[str]) -> None:
        self.splits = list(splits)
        expected = f"one of {self.splits}" if self.splits else "none: it has no parts"
        super().__init__(f"{where}: split is {split!r}; expected {expected}")


class BadSampleError(ValueError):
    """A sample cannot be used: unreadable picture, no caption, too many pixels, ..."""

    def __init__(self, bad: BadSample) -> None:
        super().__init__(f"sample '{bad.key}' in {bad.shard}: {bad.reason}")
        self.bad = bad

    def __reduce__(self) -> tuple[type["BadSampleError"], tuple[BadSample]]:
        return BadSampleError, (self.bad,)


def report_bad(bad: Iterable[BadSample], out: Path | None = None) -> None:
    """Say which samples are left out, and add them to the list beside an output, as :func:`write_bad`."""
    bad = list(bad)
    for one in bad:
        note(f"left out '{one.key}' in {one.shard}: {one.reason}")
    write_bad(out, bad, add=True)


def write_bad(out: Path | None, bad: Iterable[BadSample], *, rank: int = 0, add: bool = False) -> None:
    """List bad samples beside an output, an object a line: bad.jsonl in a folder, NAME.bad.jsonl beside a file.

    Without any there is no file, and without an output nothing is written. Ranks above 0 have their own; ``add``
    keeps what is listed there.
    """
    if out is None:
        return
    name = f"bad-rank{rank}.jsonl" if rank else "bad.jsonl"
    file = out.with_suffix(f".{name}") if out.suffix and not out.is_dir() else out / name
    older = file.read_text().splitlines() if add and file.is_file() else []
    lines = dict.fromkeys([*older, *(json.dumps(vars(one)) for one in bad)])
    if lines:
        write_text(file, "".join(f"{line}\n" for line in lines))
    else:
        file.unlink(missing_ok=True)
