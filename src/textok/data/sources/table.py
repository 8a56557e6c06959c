"""Tables with a picture column: parquet files, and any Hugging Face ``datasets`` folder.

``pyarrow`` and ``datasets`` are imported only when such a source is opened.
"""

import zlib
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from textok.data.census import Census
from textok.data.files import (
    MAX_IMAGE_BYTES,
    fingerprint_files,
    fingerprint_of,
    inside,
    is_remote,
    join,
    open_file,
    read_span,
)
from textok.data.records import (
    CAPTION_FIELDS,
    IMAGE_FIELDS,
    KEY_FIELDS,
    LABEL_FIELDS,
    Fields,
    RecordError,
    read_captions,
    read_label,
)
from textok.data.samples import BadSample, BadSampleError, RawSample, SplitError
from textok.writing import foreign_content

if TYPE_CHECKING:
    import pyarrow

    import datasets

# Row groups kept in memory; a window of shuffling holds as many as fit.
CACHE_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns of a table are the picture, the caption, the label and the key."""

    image: str
    caption: str | None
    label: str | None
    key: str | None

    @classmethod
    def choose(cls, names: Sequence[str], *, fields: Fields, where: str) -> "Columns":
        """Take the asked columns, else the first known name that is there.

        Raises:
            ValueError: when an asked column, or any picture column, is missing.
        """
        for name in (fields.image, fields.caption, fields.label):
            if name is not None and name not in names:
                raise ValueError(f"{where}: no column '{name}'; found {list(names)}")
        image = fields.image or _first(IMAGE_FIELDS, names)
        if image is None:
            raise ValueError(
                f"{where}: no picture column: found {list(names)}, expected one of {list(IMAGE_FIELDS)}; "
                "name it with image_field"
            )
        return cls(
            image=image,
            caption=fields.caption or _first(CAPTION_FIELDS, names),
            label=fields.label or _first(LABEL_FIELDS, names),
            key=_first(KEY_FIELDS, names),
        )

    def names(self) -> list[str]:
        """The columns to read, each once."""
        return list(dict.fromkeys(n for n in (self.image, self.caption, self.label, self.key) if n))

    def sample(
        self, row: Mapping[str, Any], *, key: str, shard: str, folder: str, fields: Fields
    ) -> RawSample:
        """A row as a sample.

        Raises:
            BadSampleError: when the picture, captions or label cannot be read.
        """
        try:
            return RawSample(
                key=key,
                shard=shard,
                image=_picture(row[self.image], folder),
                captions=read_captions(row, fields.caption),
                label=read_label(row, fields.label),
            )
        except RecordError as error:
            raise BadSampleError(BadSample(key=key, shard=shard, reason=str(error))) from error


class ParquetSource:
    """Rows of parquet files; a shard is a row group, read as a whole and kept while it is in use.

    Args:
        paths: the files, here or behind an address.
        fields: names of the picture, caption and label columns.
        census: of the source; the rows are counted there.

    Who opens it sets ``splits``.

    Raises:
        ValueError: when a file is not parquet or has no picture column.
    """

    def __init__(self, paths: Sequence[str], *, fields: Fields, census: Census) -> None:
        self._paths, self._fields, self.census = list(paths), fields, census
        self.splits: dict[str, int] = {}
        schemas = [_schema(path) for path in paths]
        self._columns = [
            Columns.choose(schema.names, fields=fields, where=path)
            for path, schema in zip(paths, schemas, strict=True)
        ]
        groups = [
            (file, number, rows, size)
            for file, schema in enumerate(schemas)
            for number, (rows, size) in enumerate(schema.groups)
            if rows
        ]
        if not groups:
            raise ValueError(f"{paths[0]}: no rows; expected at least one captioned picture")
        self._groups = [(file, number) for file, number, _, _ in groups]
        self.shard_lengths = [rows for _, _, rows, _ in groups]
        self.max_window = max(1, CACHE_BYTES // max(size for *_, size in groups))
        self._ends = np.cumsum(self.shard_lengths)
        self._cache: OrderedDict[int, pyarrow.Table] = OrderedDict()
        self._repeated = self._repeated_keys()
        census.read += len(self)
        parts = [f"{PurePosixPath(path).name}:{s.checksum}" for path, s in zip(paths, schemas, strict=True)]
        self.fingerprint = fingerprint_of(parts, len(self))

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def shard_paths(self) -> list[str]:
        """The file of each shard."""
        return [self._paths[file] for file, _ in self._groups]

    def read(self, index: int) -> RawSample:
        """The sample at ``index``, not decoded.

        Raises:
            BadSampleError: when the picture, captions or label cannot be read.
        """
        group = int(np.searchsorted(self._ends, index, side="right"))
        row = index - int(self._ends[group]) + self.shard_lengths[group]
        file = self._groups[group][0]
        path, columns = self._paths[file], self._columns[file]
        [record] = self._table(group).slice(row, 1).to_pylist()
        key = self._key(file, index, record[columns.key] if columns.key else None)
        folder = path.rpartition("/")[0] or "."
        return columns.sample(record, key=key, shard=path, folder=folder, fields=self._fields)

    def keys(self) -> Iterator[str]:
        """The key of every row, in order, without touching the pictures."""
        index = 0
        for group, (file, _) in enumerate(self._groups):
            column = self._columns[file].key
            rows = self.shard_lengths[group]
            own = self._read(group, [column])[column].to_pylist() if column else [None] * rows
            for value in own:
                yield self._key(file, index, value)
                index += 1

    def _key(self, file: int, index: int, value: object) -> str:
        if self._columns[file].key is not None and str(value) not in self._repeated:
            return str(value)
        return f"{PurePosixPath(self._paths[file]).stem if value is None else value}-{index:08d}"

    def captions(self) -> Iterator[str]:
        """Every caption of every row, in order; malformed ones are passed over."""
        for group, (file, _) in enumerate(self._groups):
            column = self._columns[file].caption
            if column is not None:
                yield from _all_captions(self._read(group, [column]).to_pylist(), self._fields)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_cache": OrderedDict()}

    def _repeated_keys(self) -> set[str]:
        counts: Counter[str] = Counter()
        for group, (file, _) in enumerate(self._groups):
            column = self._columns[file].key
            if column is not None:
                counts.update(map(str, self._read(group, [column])[column].to_pylist()))
        return {key for key, count in counts.items() if count > 1}

    def _table(self, group: int) -> "pyarrow.Table":
        if group not in self._cache:
            self._cache[group] = self._read(group, self._columns[self._groups[group][0]].names())
            while len(self._cache) > self.max_window:
                self._cache.popitem(last=False)
        self._cache.move_to_end(group)
        return self._cache[group]

    def _read(self, group: int, columns: list[str]) -> "pyarrow.Table":
        import pyarrow.parquet as pq

        file, number = self._groups[group]
        # no threads: workers are forked, and Arrow's thread pools do not survive that
        with (
            open_file(self._paths[file]) as stream,
            pq.ParquetFile(stream, pre_buffer=False) as parquet,
        ):
            return parquet.read_row_group(number, columns=columns, use_threads=False)


class DatasetSource:
    """Rows of a Hugging Face ``datasets.Dataset``, memory-mapped; pictures are read as stored, not decoded.

    Args:
        dataset: the rows.
        folder: where it came from; pictures stored as paths must lie inside.
        fields: names of the picture, caption and label columns.
        splits: how many rows each part has, when these are all of them.

    Raises:
        ValueError: when it is empty or has no picture column.
    """

    max_window = None

    def __init__(
        self, dataset: "datasets.Dataset", folder: Path, *, fields: Fields, splits: Mapping[str, int]
    ) -> None:
        import datasets

        if len(dataset) == 0:
            raise ValueError(f"{folder}: no rows; expected at least one captioned picture")
        self._folder, self._fields = folder, fields
        self._columns = Columns.choose(dataset.column_names, fields=fields, where=str(folder))
        chosen: Any = dataset.select_columns(list(self._columns.names())).with_format(None)
        if isinstance(chosen.features[self._columns.image], datasets.Image):
            chosen = chosen.cast_column(self._columns.image, datasets.Image(decode=False))
        self._dataset: Any = chosen
        self.shard_lengths = [len(chosen)]
        self.census, self.splits = Census(read=len(chosen)), splits
        self.fingerprint = fingerprint_files(_files_below(folder), len(chosen))

    def __len__(self) -> int:
        return len(self._dataset)

    def read(self, index: int) -> RawSample:
        """The sample at ``index``, not decoded.

        Raises:
            BadSampleError: when the picture, captions or label cannot be read.
        """
        row = self._dataset[index]
        return self._columns.sample(
            row,
            key=str(row[self._columns.key]) if self._columns.key else f"{index:08d}",
            shard=str(self._folder),
            folder=str(self._folder),
            fields=self._fields,
        )

    def captions(self) -> Iterator[str]:
        """Every caption of every row, in order; malformed ones are passed over."""
        if self._columns.caption is None:
            return
        for rows in self._dataset.select_columns([self._columns.caption]).iter(batch_size=1000):
            column = rows[self._columns.caption]
            yield from _all_captions([{self._columns.caption: value} for value in column], self._fields)


def open_dataset_folder(folder: Path, split: str | None, *, fields: Fields, saved: bool) -> DatasetSource:
    """Open what ``save_to_disk`` wrote, or any other folder that ``datasets.load_dataset`` can read.

    Of the latter ``datasets`` keeps an Arrow copy in its cache.

    Raises:
        ValueError: when the folder cannot be read, or the split is missing.
    """
    import datasets

    try:
        loaded = (
            datasets.load_from_disk(str(folder)) if saved else datasets.load_dataset(str(folder.resolve()))
        )
    except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        where = f"{folder}: not a readable save_to_disk folder" if saved else "datasets cannot read it either"
        raise ValueError(f"{where}: {reason}") from error
    rows, splits = _rows_of(loaded, split, folder)
    return DatasetSource(rows, folder, fields=fields, splits=splits)


def _rows_of(loaded: Any, split: str | None, folder: Path) -> tuple["datasets.Dataset", dict[str, int]]:
    import datasets

    if isinstance(loaded, datasets.Dataset):
        if split is not None:
            raise SplitError(folder, split, [])
        return loaded, {}
    if split is None:
        counts = {name: len(loaded[name]) for name in sorted(loaded)} if len(loaded) > 1 else {}
        return datasets.concatenate_datasets(list(loaded.values())), counts
    if split not in loaded:
        raise SplitError(folder, split, sorted(loaded))
    return loaded[split], {}


@dataclass(frozen=True, kw_only=True)
class _Schema:
    """Column names of a parquet file, (rows, bytes) of each row group, and what identifies its content."""

    names: list[str]
    groups: list[tuple[int, int]]
    checksum: int


def _schema(path: str) -> _Schema:
    import pyarrow as pa
    import pyarrow.parquet as pq

    foreign = foreign_content(read_span(path, 0, 512))
    if foreign is not None:
        raise ValueError(f"{path}: got {foreign}; expected a parquet file")
    try:
        with open_file(path) as stream, pq.ParquetFile(stream) as file:
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            # sizes, places and extremes of all columns: what is stored behind a parquet file's rows
            checksum = zlib.crc32(repr([group.to_dict() for group in groups]).encode())
            sizes = [(group.num_rows, group.total_byte_size) for group in groups]
            return _Schema(names=file.schema_arrow.names, groups=sizes, checksum=checksum)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a readable parquet file: {error}") from error


def count_rows(path: str) -> int:
    """Rows of a parquet file, 0 when it has no picture column.

    Raises:
        ValueError: when it is not parquet.
    """
    schema = _schema(path)
    return sum(rows for rows, _ in schema.groups) if _first(IMAGE_FIELDS, schema.names) else 0


def _first(known: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in known if name in names), None)


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _picture(value: Any, folder: str) -> bytes:
    data = value.get("bytes") if isinstance(value, Mapping) else value
    if isinstance(value, Mapping) and data is None and value.get("path"):
        data = _picture_file(str(value["path"]), folder)
    if not isinstance(data, bytes):
        raise RecordError(
            f"the picture cell holds a {type(data).__name__}; expected bytes, or {{bytes, path}}"
        )
    if len(data) > MAX_IMAGE_BYTES:
        raise RecordError(f"a picture of {len(data):,} bytes, over the limit of {MAX_IMAGE_BYTES:,}")
    return data


def _picture_file(name: str, folder: str) -> bytes:
    path = name if is_remote(folder) else str((Path(folder) / name).resolve())
    if not (inside(name) if is_remote(folder) else Path(path).is_relative_to(Path(folder).resolve())):
        raise RecordError(f"the picture is stored as {name!r}, outside of {folder}")
    path = join(folder, name) if is_remote(folder) else path
    try:
        return read_span(path, 0, MAX_IMAGE_BYTES + 1)
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from error


def _all_captions(rows: Sequence[Mapping[str, Any]], fields: Fields) -> Iterator[str]:
    for row in rows:
        try:
            yield from read_captions(row, fields.caption)
        except RecordError:
            continue
