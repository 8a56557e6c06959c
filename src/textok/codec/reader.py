"""Reading .ttk files: in order, by key, from a pipe, and what is left of a damaged one."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, TypeVar

from textok.codec.layout import CHUNK, END, FOOTER, INDEX, Entry, check_count, read_header, read_index
from textok.codec.prior import Prior
from textok.codec.records import Chunk, Record, read_chunk
from textok.codec.wire import Source, block_body, block_size, read_block, read_exactly

MAX_NAMES = 1 << 30  # bytes of memory for the names of a file
_PLACE = 200  # bytes of memory a name takes besides its letters
_OTHER = "damaged: a chunk is not what the index says"
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Lost:
    """What could not be read of a damaged file.

    Attributes:
        chunk: place of the chunk in the file, from 1.
        pictures: how many it holds; None without an index: then whatever followed, if anything, is lost.
        keys: their names, where they can still be told; unproven, for the damage may be in them.
        why: what is wrong with it.
    """

    chunk: int
    pictures: int | None
    keys: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        if self.pictures is None:
            before = f"the first {self.chunk - 1} chunks are" if self.chunk > 2 else "the first chunk is"
            read = f"{before} there, what followed" if self.chunk > 1 else "whatever followed the header"
            return f"{read} is lost, how much cannot be told: {self.why}"
        names = " to ".join(map(repr, dict.fromkeys((*self.keys[:1], *self.keys[-1:]))))
        return f"lost chunk {self.chunk}, {self.pictures} pictures ({names or 'names unknown'}): {self.why}"


class TtkReader:
    """A .ttk file: its header and index at once, its pictures as they are asked for.

    >>> with TtkReader("x.ttk", prior=prior) as reader:
    ...     apple = reader["apple"].values

    Args:
        path: the file.
        prior: the probability model that its header names; needed for the tokens alone.
        recover: read what is left of a damaged file: with a good index all chunks but the bad ones, without one the
            chunks before the first bad one. ``lost`` tells what is missing.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: here and later, when the file is not as it should be: one sentence that names it. No more than
            some 200 MiB are ever taken for a chunk, whatever the file says.
    """

    def __init__(self, path: str | Path, *, prior: Prior | None = None, recover: bool = False) -> None:
        self.path, self._prior, self._recover = Path(path), prior, recover
        self._lost: dict[int, Lost] = {}
        self._lost_names = 0  # bytes of memory
        if not self.path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        self._stream: BinaryIO = open(self.path, "rb")  # noqa: SIM115 (closed by close)
        try:
            with self._told():
                self.header, start = read_header(self._stream)
                self.entries = self._found(start) if recover else self._indexed(start)
        except BaseException:
            self.close()
            raise
        self.end = self.entries[-1].offset + self.entries[-1].length if self.entries else start

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        return os.fstat(self._stream.fileno()).st_size

    @property
    def pictures(self) -> int:
        """How many pictures the index tells of; no ``len``, which ``list`` would take memory for unseen."""
        return sum(entry.sizes.pictures for entry in self.entries)

    @cached_property
    def coder(self) -> Prior:
        """The probability model to read and to go on with; ``ValueError`` when ``prior`` is not that of the file."""
        with self._told():
            return self.header.coder(self._prior)

    @property
    def lost(self) -> list[Lost]:
        """With ``recover``: what could not be read of the chunks that were asked for so far."""
        return [self._lost[number] for number in sorted(self._lost)]

    def __iter__(self) -> Iterator[Record]:
        """The pictures in order."""
        coder = self.coder
        for entry in self.entries:
            yield from self._tried(entry, lambda entry: self._decoded(entry, coder))

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __getitem__(self, key: str) -> Record:
        """The picture of that name; only its chunk is decoded.

        Raises:
            KeyError: when there is none.
        """
        (entry, row), coder = self._places[key], self.coder
        with self._told(entry):
            return self._decoded(entry, coder)[row]

    def select(self, keys: Iterable[str]) -> Iterator[Record]:
        """The pictures of some names, in the order of the file; every chunk is decoded once.

        Raises:
            KeyError: when there is none of a name.
        """
        coder, rows = self.coder, defaultdict[Entry, set[int]](set)
        for entry, row in map(self._places.__getitem__, keys):
            rows[entry].add(row)
        for entry in sorted(rows, key=lambda entry: entry.offset):
            records = self._tried(entry, lambda entry: self._decoded(entry, coder))
            yield from (record for row, record in enumerate(records) if row in rows[entry])

    def keys(self) -> list[str]:
        """Names of all pictures, in order."""
        return list(self._places)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> "TtkReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def _places(self) -> dict[str, tuple[Entry, int]]:
        places, size = dict[str, tuple[Entry, int]](), 0
        for entry in self.entries:
            keys = self._tried(entry, lambda entry: self._chunk(entry).keys)
            size += sum(len(key) + _PLACE for key in keys)
            with self._told():
                if size > MAX_NAMES:
                    raise ValueError("too many names to find one by: read the pictures in order")
                for row, key in enumerate(keys):
                    if key in places:
                        raise ValueError(f"damaged: two pictures named {key!r}: read them in order")
                    places[key] = (entry, row)
        return places

    def _tried(self, entry: Entry, read: Callable[[Entry], Sequence[_T]]) -> Sequence[_T]:
        """What ``read`` finds in a chunk; when recovering, nothing in a bad one, which is noted."""
        if not self._recover:
            with self._told(entry):
                return read(entry)
        try:
            return read(entry)
        except ValueError as error:
            self._lose(str(error), self._numbers[entry.offset], entry)
            return ()

    @cached_property
    def _numbers(self) -> dict[int, int]:
        """Each chunk's place from 1, by its offset."""
        return {entry.offset: number for number, entry in enumerate(self.entries, start=1)}

    def _lose(self, why: str, number: int, entry: Entry | None = None) -> None:
        if number in self._lost:
            return
        pictures, keys = (None, ()) if entry is None else (entry.sizes.pictures, self._names(entry))
        self._lost[number] = Lost(chunk=number, pictures=pictures, keys=keys, why=why)

    def _names(self, entry: Entry) -> tuple[str, ...]:
        """The names in a bad chunk, whatever its checksum says; none where they cannot be told or are too many."""
        keys: tuple[str, ...] = ()
        with suppress(ValueError):
            self._stream.seek(entry.offset)
            keys = read_chunk(block_body(read_exactly(self._stream, entry.length))).keys
        self._lost_names += sum(len(key) + _PLACE for key in keys)
        return keys if len(keys) == entry.sizes.pictures and self._lost_names <= MAX_NAMES else ()

    def _chunk(self, entry: Entry) -> Chunk:
        self._stream.seek(entry.offset)
        tag, body = read_block(self._stream)
        chunk = read_chunk(body)
        told = Entry(entry.offset, block_size(len(body)), chunk.sizes(tokens=entry.sizes.tokens))
        if tag != CHUNK or told != entry:
            raise ValueError(_OTHER)
        return chunk

    def _decoded(self, entry: Entry, coder: Prior) -> list[Record]:
        records = self._chunk(entry).records(self.header, coder)
        if entry.sizes.tokens not in (0, sum(len(record.values) for record in records)):
            raise ValueError(_OTHER)
        return records

    def _indexed(self, start: int) -> list[Entry]:
        size = self.file_bytes
        self._stream.seek(max(start, size - FOOTER))
        footer = self._stream.read()
        at = int.from_bytes(footer[:8], "little")
        if len(footer) != FOOTER or footer[8:] != END or not start <= at <= size - FOOTER:
            raise ValueError(
                "cut off, or more behind its end: no index where one should be;"
                " textok decompress --recover reads what is left"
            )
        self._stream.seek(at)
        tag, body = read_block(self._stream)
        entries = read_index(body, self.header, start=start)
        end = entries[-1].offset + entries[-1].length if entries else start
        if tag != INDEX or end != at or at + block_size(len(body)) + FOOTER != size:
            raise ValueError("damaged: the index does not fit the file")
        return entries

    def _found(self, start: int) -> list[Entry]:
        """The chunks of the index, or without a good one those that can be found."""
        with suppress(ValueError):
            return self._indexed(start)
        entries = list[Entry]()
        try:
            self._stream.seek(start)
            for entry in _scan(self._stream, start):
                entries.append(entry)
                check_count(len(entries))
        except ValueError as error:
            self._lose(str(error), len(entries) + 1)
        return entries

    @contextmanager
    def _told(self, entry: Entry | None = None) -> Iterator[None]:
        """Names the file in a ``ValueError``, and the chunk where there are several."""
        try:
            yield
        except ValueError as error:
            place, hint = "", ""
            if entry is not None and len(self.entries) > 1:
                place = f"chunk {self._numbers[entry.offset]} of {len(self.entries)}: "
                hint = "; textok decompress --recover reads the others"
            raise ValueError(f"{self.path}: {place}{error}{hint}") from error


def read_stream(stream: Source, *, prior: Prior | None = None) -> Iterator[Record]:
    """The pictures of a stream one after another, from a pipe too; nothing is sought.

    Args:
        stream: the file's bytes.
        prior: the probability model that its header names.

    Raises:
        ValueError: for the first thing that is not as it should be, which may come after some good pictures.
    """
    header, at = read_header(stream)
    coder, found, start = header.coder(prior), list[Entry](), at
    tag, body = read_block(stream)
    while tag == CHUNK:
        chunk = read_chunk(body)
        records = chunk.records(header, coder)
        yield from records
        sizes = chunk.sizes(tokens=sum(len(record.values) for record in records))
        found.append(Entry(at, block_size(len(body)), sizes))
        check_count(len(found))
        at += found[-1].length
        tag, body = read_block(stream)
    if tag != INDEX or read_index(body, header, start=start) != found:
        raise ValueError("damaged: the index is of other pictures")
    if read_exactly(stream, FOOTER) != at.to_bytes(8, "little") + END or stream.read(1):
        raise ValueError("damaged: it does not end as it should")


def _scan(stream: Source, start: int) -> Iterator[Entry]:
    """The chunks from ``start`` on, up to an index.

    Raises:
        ValueError: for the first thing that is neither.
    """
    tag, body = read_block(stream)
    while tag == CHUNK:
        yield Entry(start, block_size(len(body)), read_chunk(body).sizes(tokens=0))
        start += block_size(len(body))
        tag, body = read_block(stream)
    if tag != INDEX:
        raise ValueError(f"damaged: a block {tag!r} where a chunk was expected")
