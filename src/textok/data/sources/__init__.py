"""Random access to stored samples, whatever the form: folders, tars, parquet, HF datasets, COCO, Places."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from textok.data.census import Census
from textok.data.records import Fields
from textok.data.samples import RawSample
from textok.data.scenes import is_drawn
from textok.data.sources.opening import open_stored


@runtime_checkable
class Source(Protocol):
    """Stored samples by number. Reading decodes nothing; the same number always gives the same sample.

    Attributes:
        shard_lengths: samples in each shard, in order; shuffling keeps windows of shards together.
        max_window: how many shards it can serve in mixed order cheaply; None = all, 0 = the samples are independent
            draws that need no other order.
        fingerprint: hash of file names, sizes and times (of tars: of their members), and the sample count.
        census: what is read and what is passed over.
        splits: how many samples each part has; empty when it is one whole.
    """

    @property
    def splits(self) -> Mapping[str, int]:
        """Samples in each part."""

    @property
    def shard_lengths(self) -> Sequence[int]:
        """Samples in each shard."""

    @property
    def max_window(self) -> int | None:
        """Shards it can serve in mixed order."""

    @property
    def fingerprint(self) -> str:
        """Hash of the data."""

    @property
    def census(self) -> Census:
        """What is read and what is passed over."""

    def __len__(self) -> int:
        """How many samples there are."""

    def read(self, index: int) -> RawSample:
        """The sample at ``index``; raises :class:`BadSampleError` when it cannot be read."""

    def captions(self) -> Iterator[str]:
        """Every caption of every sample, without touching the pictures."""


def open_source(
    source: str | Path, split: str | None = None, *, fields: Fields | None = None, on_bad: str = "stop"
) -> Source:
    """Open a data set; prints nothing, its ``census`` says what was passed over.

    Args:
        source: "scenes" or "icons" (docs/scenes.md), a file, a folder, a glob, brace notation
            (``train-{000..009}.tar``) or an fsspec address such as ``hf://datasets/someone/pictures``; COCO captions
            are ``captions_SPLIT.json``, where the pictures lie beside it as COCO unpacks, or ``FILE.json:FOLDER``. Of a
            folder with several forms in it, the one that holds most pictures is read.
        split: which part of it, named by files (``SPLIT-000000.tar``, ``SPLIT-00000-of-00001.parquet``), by folders
            (``SPLIT/``) or by the data set; None for all of it.
        fields: names of the image, caption and label fields, where they are not the usual ones.
        on_bad: "skip" counts files and folders that cannot be opened, "stop" raises.

    Raises:
        FileNotFoundError: when nothing is there.
        ValueError: when the layout or the split is unknown; the message says what was found.
    """
    if is_drawn(source):
        from textok.data.scenes.opening import open_drawn  # only now: it loads what draws

        return open_drawn(str(source), split)
    return open_stored(source, split, fields=fields or Fields(), on_bad=on_bad)
