"""Random access to stored samples, whatever the layout: tars, image folders, parquet, HF datasets, COCO, Places."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from textok.data.files import find_files, listing
from textok.data.records import Fields
from textok.data.samples import RawSample
from textok.data.scenes.names import is_drawn, open_drawn
from textok.data.sources.coco import coco_annotations, is_coco, open_coco, open_coco_folder
from textok.data.sources.folder import METADATA, open_image_folder
from textok.data.sources.listed import open_bare_folder
from textok.data.sources.places import CATEGORIES, open_places
from textok.data.sources.table import ParquetSource, load_dataset_folder, open_saved_dataset
from textok.data.sources.tar import TarSource

# train-000000.tar, train-00000-of-00002.parquet, train-00000-of-00002-0123abcd.parquet
_NUMBERED = re.compile(r"(.+?)[-_.]\d+(-of-\d+(-[0-9a-f]+)?)?")

_TABLES = (".csv", ".jsonl", ".json", ".parquet", ".arrow")

EXPECTED = (
    "webdataset tars (SPLIT-NNNNNN.tar), parquet files, a folder of pictures with metadata.jsonl or .txt "
    "files, a folder a class, COCO captions, Places365 lists, or a Hugging Face datasets folder"
)


@runtime_checkable
class Source(Protocol):
    """Stored samples by number. Reading decodes nothing; the same number always gives the same sample.

    Attributes:
        shard_lengths: samples in each shard, in order; shuffling keeps windows of shards together.
        max_window: how many shards it can serve in mixed order cheaply; None = all, 0 = the samples are independent
            draws that need no other order.
        fingerprint: hash of file names, sizes and the sample count.
    """

    @property
    def shard_lengths(self) -> Sequence[int]:
        """Samples in each shard."""
        ...

    @property
    def max_window(self) -> int | None:
        """Shards it can serve in mixed order."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of the data."""
        ...

    def __len__(self) -> int:
        """How many samples there are."""
        ...

    def read(self, index: int) -> RawSample:
        """The sample at ``index``; raises :class:`BadSampleError` when it cannot be read."""
        ...

    def captions(self) -> Iterator[str]:
        """Every caption of every sample, without touching the pictures."""
        ...


def open_source(source: str | Path, split: str | None = None, *, fields: Fields | None = None) -> Source:
    """Open a data set.

    Args:
        source: "scenes" or "icons" (docs/scenes.md), a file, a folder or a glob; COCO captions are
            ``captions_SPLIT.json``, where the pictures lie beside it as COCO unpacks, or ``FILE.json:FOLDER``.
        split: which part of it, told by file names (``SPLIT-000000.tar``, ``SPLIT-00000-of-00001.parquet``),
            by folders (``SPLIT/``) or by the data set; None when there is only one, or for a whole glob.
        fields: names of the image, caption and label fields, where they are not the usual ones.

    Raises:
        FileNotFoundError: when nothing is there.
        ValueError: when the layout or the split is unknown; the message says what was found.
    """
    if is_drawn(source):
        return open_drawn(str(source), split)
    fields = fields or Fields()
    if is_coco(source):
        return open_coco(source, split, fields=fields)
    paths = find_files(source)
    folder = Path(source)
    if folder.is_dir() and ((folder / "dataset_dict.json").exists() or (folder / "state.json").exists()):
        return open_saved_dataset(folder, split, fields=fields)
    if not folder.is_dir() or _has_shards(paths):
        return _open_shards(paths, split, source=source, fields=fields)
    return _open_folder(folder, split, fields=fields)


def _open_shards(paths: list[Path], split: str | None, *, source: str | Path, fields: Fields) -> Source:
    for ending, kind in ((".tar", TarSource), (".parquet", ParquetSource)):
        shards = [path for path in paths if path.suffix == ending]
        if shards:
            return kind(_of_split(shards, split, source), fields=fields)
    raise ValueError(f"{source}: unknown layout: found {listing(paths)}; expected {EXPECTED}")


def _open_folder(folder: Path, split: str | None, *, fields: Fields) -> Source:
    if not (folder / METADATA).exists():
        if coco_annotations(folder):
            return open_coco_folder(folder, split, fields=fields)
        if (folder / CATEGORIES).is_file():
            return open_places(folder, split, fields=fields)
        if split is not None and (folder / split).is_dir():
            return open_source(folder / split, fields=fields)
    inner = folder / "data"  # where data sets on the Hugging Face hub keep their parquet files
    if inner.is_dir() and _has_shards(inner_paths := sorted(inner.iterdir())):
        return _open_shards(inner_paths, split, source=inner, fields=fields)
    source = open_image_folder(folder, split, fields=fields)
    if source is None and split is None and not _has_table(folder):
        source = open_bare_folder(folder, fields=fields)
    if source is not None:
        return source
    try:
        return load_dataset_folder(folder, split, fields=fields)
    except ValueError as error:
        found = listing(sorted(folder.iterdir()))
        raise ValueError(f"{folder}: found {found}; expected {EXPECTED} ({error})") from error


def _has_shards(paths: Sequence[Path]) -> bool:
    return any(path.suffix in (".tar", ".parquet") for path in paths)


def _has_table(folder: Path) -> bool:
    """Whether a file of captions or rows lies in the folder, which only ``datasets`` reads."""
    return any(path.suffix.lower() in _TABLES for path in folder.rglob("*"))


def _of_split(shards: list[Path], split: str | None, source: str | Path) -> list[Path]:
    """The shards whose name starts with the split; names that are numbers only belong to no split."""
    splits: dict[str | None, list[Path]] = {}
    for path in shards:
        match = _NUMBERED.fullmatch(path.stem)
        name = match[1] if match else None if path.stem.isdigit() else path.stem
        splits.setdefault(name, []).append(path)
    if split is None and (len(splits) == 1 or not Path(source).is_dir()):
        return shards
    if split not in splits:
        names = sorted(name for name in splits if name is not None)
        raise ValueError(f"{source}: split is {split!r}; expected one of {names or [None]}")
    return splits[split]
