"""Reading .ttk files: in order, by key, from a pipe, and what is left of a damaged one."""

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from textok.codec.layout import CHUNK, END, FOOTER, INDEX, Entry, Sizes, read_header, read_index
from textok.codec.prior import Prior
from textok.codec.records import Chunk, Record, read_chunk
from textok.codec.wire import Source, block_size, read_block, read_exactly

MAX_NAMES = 1 << 30  # bytes of memory for the names of a file
_PLACE = 200  # bytes of memory a name takes besides its letters


class TtkReader:
    """A .ttk file: its header and index at once, its pictures as they are asked for.

    >>> with TtkReader("x.ttk", prior=prior) as reader:
    ...     apple = reader["apple"].values

    Args:
        path: the file.
        prior: the probability model that its header names; needed for the tokens alone.
        recover: read a file that is cut off or has a damaged index, up to its last whole chunk.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: here and later, when the file is not as it should be: one sentence that names it. No more than
            some 200 MiB are ever taken for a chunk, whatever the file says.
    """

    def __init__(self, path: str | Path, *, prior: Prior | None = None, recover: bool = False) -> None:
        self.path, self._prior = Path(path), prior
        if not self.path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        self._stream: BinaryIO = open(self.path, "rb")  # noqa: SIM115 (closed by close)
        try:
            with self._told():
                self.header, start = read_header(self._stream)
                self.entries = list(_scan(self._stream, start)) if recover else self._indexed(start)
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

    def __iter__(self) -> Iterator[Record]:
        """The pictures in order."""
        for entry in self.entries:
            with self._told():
                records = self._chunk(entry).records(self.header, self._coder)
            yield from records

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __getitem__(self, key: str) -> Record:
        """The picture of that name; only its chunk is decoded.

        Raises:
            KeyError: when there is none.
        """
        entry, row = self._places[key]
        with self._told():
            return self._chunk(entry).records(self.header, self._coder)[row]

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
    def _coder(self) -> Prior:
        return self.header.coder(self._prior)

    @cached_property
    def _places(self) -> dict[str, tuple[Entry, int]]:
        places, size = {}, 0
        with self._told():
            for entry in self.entries:
                keys = self._chunk(entry).keys
                size += sum(len(key) + _PLACE for key in keys)
                if size > MAX_NAMES:
                    raise ValueError("too many names to find one by: read the pictures in order")
                places |= {key: (entry, row) for row, key in enumerate(keys)}
            if len(places) != self.pictures:
                raise ValueError("damaged: two pictures of one name")
        return places

    def _chunk(self, entry: Entry) -> Chunk:
        self._stream.seek(entry.offset)
        tag, body = read_block(self._stream)
        chunk = read_chunk(body)
        if tag != CHUNK or (block_size(len(body)), chunk.count) != (entry.length, entry.sizes.pictures):
            raise ValueError("damaged: a chunk is not what the index says")
        return chunk

    def _indexed(self, start: int) -> list[Entry]:
        size = self.file_bytes
        self._stream.seek(max(start, size - FOOTER))
        footer = self._stream.read()
        at = int.from_bytes(footer[:8], "little")
        if len(footer) != FOOTER or footer[8:] != END or not start <= at <= size - FOOTER:
            raise ValueError("cut off: it has no index (recover reads what is left)")
        self._stream.seek(at)
        tag, body = read_block(self._stream)
        entries = read_index(body, start=start)
        end = entries[-1].offset + entries[-1].length if entries else start
        if tag != INDEX or end != at or at + block_size(len(body)) + FOOTER != size:
            raise ValueError("damaged: the index does not fit the file")
        return entries

    def _told(self) -> "_Told":
        return _Told(self.path)


class _Told:
    """Names the file in a ValueError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ValueError):
            raise ValueError(f"{self._path}: {error}") from error


def read_stream(stream: Source, *, prior: Prior | None = None) -> Iterator[Record]:
    """The pictures of a stream one after another, from a pipe too; nothing is sought.

    Args:
        stream: the file's bytes.
        prior: the probability model that its header names.

    Raises:
        ValueError: for the first thing that is not as it should be, which may come after some good pictures.
    """
    header, at = read_header(stream)
    coder, found, start = header.coder(prior), list[tuple[int, int]](), at
    tag, body = read_block(stream)
    while tag == CHUNK:
        chunk = read_chunk(body)
        yield from chunk.records(header, coder)
        found.append((block_size(len(body)), chunk.count))
        at += found[-1][0]
        tag, body = read_block(stream)
    told = [(entry.length, entry.sizes.pictures) for entry in read_index(body, start=start)]
    if tag != INDEX or told != found:
        raise ValueError("damaged: the index is of other pictures")
    if read_exactly(stream, FOOTER) != at.to_bytes(8, "little") + END or stream.read(1):
        raise ValueError("damaged: it does not end as it should")


def _scan(stream: Source, start: int) -> Iterator[Entry]:
    """The whole chunks from ``start`` on, up to the first thing that is none."""
    with suppress(ValueError):
        while True:
            tag, body = read_block(stream)
            if tag != CHUNK:
                return
            chunk = read_chunk(body)
            values = len(chunk.coded) + len(chunk.escapes)
            sizes = Sizes(
                pictures=chunk.count,
                tokens=0,
                names=len(chunk.names),
                captions=len(chunk.captions),
                values=values,
            )
            yield Entry(start, block_size(len(body)), sizes)
            start += block_size(len(body))
