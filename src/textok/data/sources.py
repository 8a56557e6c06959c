"""Random access to stored samples, whatever the layout: tars, image folders, parquet, HF datasets."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from textok.data.files import find_files, listing
from textok.data.records import Fields
from textok.data.samples import RawSample
from textok.data.sources_tar import TarSource

_TAR_SPLIT = re.compile(r"(.+)-\d+\.tar")

EXPECTED = (
    "webdataset tars (SPLIT-NNNNNN.tar), a folder of pictures with metadata.jsonl or .txt files, "
    "parquet files, or a Hugging Face datasets folder"
)


class Source(Protocol):
    """Stored samples by number. Reading decodes nothing; the same number always gives the same sample.

    Attributes:
        shard_lengths: samples in each shard, in order; shuffling keeps windows of shards together.
        max_window: how many shards it can serve in mixed order cheaply; None = all.
        fingerprint: hash of file names, sizes and the sample count.
    """

    shard_lengths: Sequence[int]
    max_window: int | None
    fingerprint: str

    def __len__(self) -> int: ...

    def read(self, index: int) -> RawSample: ...

    def captions(self) -> Iterator[str]: ...


def open_source(source: str | Path, split: str | None = None, *, fields: Fields | None = None) -> Source:
    """Open a data set.

    Args:
        source: a file, a folder or a glob.
        split: which part of it; may be None when there is only one.
        fields: names of the image, caption and label fields, where they are not the usual ones.

    Raises:
        FileNotFoundError: when nothing is there.
        ValueError: when the layout or the split is unknown; the message says what was found.
    """
    fields = fields or Fields()
    paths = find_files(source)
    tars = [path for path in paths if path.suffix == ".tar"]
    if tars:
        return TarSource(_of_split(tars, split, source), fields=fields)
    raise ValueError(f"{source}: unknown layout: found {listing(paths)}; expected {EXPECTED}")


def _of_split(tars: list[Path], split: str | None, source: str | Path) -> list[Path]:
    splits: dict[str | None, list[Path]] = {}
    for path in tars:
        match = _TAR_SPLIT.fullmatch(path.name)
        splits.setdefault(match[1] if match else None, []).append(path)
    if split is None and len(splits) == 1:
        return tars
    if split not in splits:
        names = sorted(name for name in splits if name is not None)
        raise ValueError(f"{source}: split is {split!r}; expected one of {names}")
    return splits[split]
