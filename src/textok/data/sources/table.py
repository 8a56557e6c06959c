"""Tables with a picture column: parquet files, and any Hugging Face ``datasets`` folder.

``pyarrow`` and ``datasets`` are imported only when such a source is opened.
"""

import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from textok.data.files import (
    MAX_IMAGE_BYTES,
    Census,
    File,
    Listing,
    file_of,
    fingerprint_of,
    inside,
    is_remote,
    join,
    open_file,
    read_span,
)
from textok.data.records import IMAGE_FIELDS, Columns, Fields, RecordError, read_captions, stored_sample
from textok.data.samples import RawSample, Source, SplitError
from textok.writing import foreign_content

if TYPE_CHECKING:
    import pyarrow

    import datasets

# Row groups kept in memory; a window of shuffling holds as many as fit.
CACHE_BYTES = 256 << 20

_BOMB_BYTES, _BOMB_RATIO = 64 << 20, 200
"""A column of a row group that unpacks to more bytes, and to so many times its size, is no honest one."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that are read together: a row group of a parquet file, or a whole Hugging Face data set.

    Pictures stored as paths must lie inside of ``folder``; ``prefix`` is of the keys of rows that have none;
    ``num_bytes`` are those in memory, 0 for a table that is mapped.
    """

    path: str
    folder: str
    prefix: str
    names: Sequence[str]
    rows: int
    num_bytes: int
    read: "Callable[[Sequence[str]], pyarrow.Table]"


class TableSource(Source):
    """Rows of tables; a shard is a group of rows, read as a whole and kept while it is in use.

    ``identity`` is what identifies the content, for the fingerprint; ``ValueError`` when there is no picture column.
    Who opens it sets ``splits``.
    """

    def __init__(
        self, groups: Sequence[Group], *, fields: Fields, census: Census, identity: Sequence[object]
    ) -> None:
        self._columns = [Columns.of(group.names, fields, where=group.path) for group in groups]
        self._groups, self._fields, self.census = groups, fields, census
        self.shard_lengths = [group.rows for group in groups]
        largest = max(group.num_bytes for group in groups)
        self.max_window = max(1, CACHE_BYTES // largest) if largest else None
        self._ends = np.cumsum(self.shard_lengths)
        self._cache: OrderedDict[int, pyarrow.Table] = OrderedDict()
        counts = Counter(str(value) for group in range(len(groups)) for value in self._own_keys(group))
        self._repeated = {key for key, count in counts.items() if count > 1}
        census.read += len(self)
        self.fingerprint = fingerprint_of(identity, len(self))

    @property
    def shard_paths(self) -> list[str]:
        """The file of each shard."""
        return [group.path for group in self._groups]

    def read(self, index: int) -> RawSample:
        """The sample at ``index``, not decoded; ``BadSampleError`` when a part of it cannot be read."""
        place = int(np.searchsorted(self._ends, index, side="right"))
        row = index - int(self._ends[place]) + self.shard_lengths[place]
        group, columns = self._groups[place], self._columns[place]
        [record] = self._table(place).slice(row, 1).to_pylist()
        key = self._key(place, index, record[columns.key] if columns.key else None)
        image = partial(_picture, record[columns.image], group.folder)
        return stored_sample(lambda: record, image, key=key, shard=group.path, fields=self._fields)

    def keys(self) -> Iterator[str]:
        """The key of every row, in order, without touching the pictures."""
        index = 0
        for place, group in enumerate(self._groups):
            for value in self._own_keys(place) or [None] * group.rows:
                yield self._key(place, index, value)
                index += 1

    def captions(self) -> Iterator[str]:
        """Every caption of every row, in order; malformed ones are passed over."""
        for group, columns in zip(self._groups, self._columns, strict=True):
            for row in group.read([columns.caption]).to_pylist() if columns.caption else ():
                with suppress(RecordError):
                    yield from read_captions(row, self._fields.caption)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_cache": OrderedDict()}

    def _own_keys(self, place: int) -> list[object]:
        column = self._columns[place].key
        return self._groups[place].read([column])[column].to_pylist() if column else []

    def _key(self, place: int, index: int, value: object) -> str:
        if self._columns[place].key is not None and str(value) not in self._repeated:
            return str(value)
        return f"{self._groups[place].prefix if value is None else f'{value}-'}{index:08d}"

    def _table(self, place: int) -> "pyarrow.Table":
        if place not in self._cache:
            columns = dict.fromkeys(name for name in self._columns[place] if name)
            self._cache[place] = self._groups[place].read(list(columns))
            while len(self._cache) > (self.max_window or 1):
                self._cache.popitem(last=False)
        self._cache.move_to_end(place)
        return self._cache[place]


def _picture(value: Any, folder: str) -> bytes:
    data = value.get("bytes") if isinstance(value, Mapping) else value
    if isinstance(value, Mapping) and data is None and value.get("path"):
        data = _picture_file(str(value["path"]), folder)
    if not isinstance(data, bytes):
        kind = type(data).__name__
        raise RecordError(f"the picture cell holds a {kind}; expected bytes, or {{bytes, path}}")
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


def open_parquet(files: Listing, shards: Sequence[File], *, fields: Fields) -> TableSource:
    """Open parquet files of a listing; ``ValueError`` for other files, and without a picture column or any row."""
    groups, identity = list[Group](), []
    for file in shards:
        more, checksum = _row_groups(files.path(file.name))
        groups += [group for group in more if group.rows]
        identity.append(f"{PurePosixPath(file.name).name}:{file.changed}:{checksum}")
    if not groups:
        first = files.path(shards[0].name)
        raise ValueError(f"{first}: no rows; expected at least one captioned picture")
    return TableSource(groups, fields=fields, census=files.census, identity=identity)


def count_rows(path: str) -> int:
    """Rows of a parquet file, 0 when it has no picture column; ``ValueError`` when it is not parquet."""
    return sum(group.rows for group in _row_groups(path)[0] if {*IMAGE_FIELDS} & {*group.names})


def _row_groups(path: str) -> tuple[list[Group], int]:
    """The groups of a file, and what identifies its content."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    foreign = foreign_content(read_span(path, 0, 512))
    if foreign is not None:
        raise ValueError(f"{path}: got {foreign}; expected a parquet file")
    try:
        with open_file(path) as stream, pq.ParquetFile(stream) as file:
            stored = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
            names = file.schema_arrow.names
            # sizes, places and extremes of all columns: what is stored behind a parquet file's rows
            checksum = zlib.crc32(repr([group.to_dict() for group in stored]).encode())
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a readable parquet file: {error}") from error
    groups, folder = [], path.rpartition("/")[0] or "."
    for number, group in enumerate(stored):
        _refuse_bomb(group, path)
        groups.append(
            Group(
                path=path,
                folder=folder,
                prefix=f"{PurePosixPath(path).stem}-",
                names=names,
                rows=group.num_rows,
                num_bytes=group.total_byte_size,
                read=partial(_read_row_group, path, number),
            )
        )
    return groups, checksum


def _refuse_bomb(group: Any, path: str) -> None:
    for column in map(group.column, range(group.num_columns)):
        packed, whole = column.total_compressed_size, column.total_uncompressed_size
        if whole > _BOMB_BYTES and whole > _BOMB_RATIO * packed:
            raise ValueError(
                f"{path}: column '{column.path_in_schema}': got {packed:,} bytes that unpack to {whole:,}, expected "
                f"at most {_BOMB_RATIO} times as many; write it again in smaller row groups"
            )


def _read_row_group(path: str, number: int, columns: Sequence[str]) -> "pyarrow.Table":
    import pyarrow.parquet as pq

    # no threads: workers are forked, and Arrow's thread pools do not survive that
    with open_file(path) as stream, pq.ParquetFile(stream, pre_buffer=False) as file:
        return file.read_row_group(number, columns=list(columns), use_threads=False)


def open_dataset_folder(folder: Path, split: str | None, *, fields: Fields, saved: bool) -> TableSource:
    """Open what ``save_to_disk`` wrote, or any other folder that ``datasets.load_dataset`` can read.

    The rows stay on the disk (memory-mapped). Of the latter ``datasets`` keeps an Arrow copy in its cache.
    ``ValueError`` when the folder cannot be read or is empty, or the split is missing.
    """
    import datasets

    place = str(folder)
    load = datasets.load_from_disk if saved else datasets.load_dataset
    try:
        loaded: Any = load(place if saved else str(folder.resolve()))
    except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        where = f"{folder}: not a readable save_to_disk folder" if saved else "datasets cannot read it either"
        raise ValueError(f"{where}: {reason}") from error
    several = not isinstance(loaded, datasets.Dataset) and loaded
    parts: dict[str | None, Any] = dict(loaded) if several else {None: loaded}
    if split is not None and split not in parts:
        raise SplitError(folder, split, sorted(filter(None, parts)))
    rows: Any = parts[split] if split in parts else datasets.concatenate_datasets([*parts.values()])
    if not len(rows):
        raise ValueError(f"{folder}: no rows; expected at least one captioned picture")
    read, names = partial(_read_dataset, rows), rows.column_names
    group = Group(path=place, folder=place, prefix="", names=names, rows=len(rows), num_bytes=0, read=read)
    files = [file_of(path.name, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    identity = [f"{name}:{size}:{changed}" for name, size, changed in files]
    source = TableSource([group], fields=fields, census=Census(), identity=identity)
    if split is None and len(parts) > 1:
        source.splits = {str(name): len(parts[name]) for name in sorted(parts, key=str)}
    return source


def _read_dataset(rows: "datasets.Dataset", columns: Sequence[str]) -> "pyarrow.Table":
    return rows.with_format("arrow").select_columns(list(columns))[:]
