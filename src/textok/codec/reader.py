"""Reading .ttk files: in order, by key, and what is left of a damaged one."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

from textok.codec.chunk_body import Chunk, read_chunk
from textok.codec.facts import facts_of
from textok.codec.layout import CHUNK, END, FOOTER, INDEX, Entry, check_count, read_header, read_index
from textok.codec.prior import Prior
from textok.codec.wire import Source, block_size, read_block
from textok.pipeline.tokens import Tokens

MAX_NAMES = 1 << 30  # bytes of memory for the names of a file
_PLACE = 200  # bytes of memory a name takes besides its letters
_OTHER = "damaged: a chunk is not what the index says"
_T = TypeVar("_T")


class TtkReader:
    """A .ttk file: its header and index at once, its pictures as they are needed.

    >>> with TtkReader("x.ttk", prior=prior) as reader:
    ...     apple = reader["apple"]
    ...     for tokens in reader:  # of up to 256 pictures each
    ...         tokenizer.decode(tokens)

    Args:
        path: the file.
        prior: the probability model that its header names; needed for the tokens alone.
        recover: read what is left of a damaged file: with a good index all chunks but the bad ones, without one
            the chunks before the first bad one. ``lost`` says what is missing.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: here and later, when the file is not as it should be: one sentence that names it. No more than
            some 200 MiB are ever taken for a chunk, whatever the file says.
    """

    def __init__(self, path: str | Path, *, prior: Prior | None = None, recover: bool = False) -> None:
        self.path, self._prior, self._recover = Path(path), prior, recover
        self._lost: dict[int, str] = {}
        if not self.path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        self._stream: BinaryIO = open(self.path, "rb")  # noqa: SIM115 (closed by close)
        try:
            with self._named():
                self.header, start = read_header(self._stream)
                self.entries = self._recovered(start) if recover else self._indexed(start)
        except BaseException:
            self.close()
            raise

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        return os.fstat(self._stream.fileno()).st_size

    @property
    def pictures(self) -> int:
        """The number of pictures by the index; no ``len``, which ``list`` would take memory for unseen."""
        return sum(entry.sizes.pictures for entry in self.entries)

    @property
    def lost(self) -> list[str]:
        """With ``recover``: a sentence for each chunk that was asked for so far and could not be read."""
        return [self._lost[number] for number in sorted(self._lost)]

    def facts(self) -> dict[str, Any]:
        """Sizes and settings: see :func:`textok.codec.facts.facts_of`."""
        return facts_of(self.header, self.entries, file_bytes=self.file_bytes)

    def __iter__(self) -> Iterator[Tokens]:
        """The pictures in order, a chunk at a time."""
        coder = self._coder
        for entry in self.entries:
            yield from self._tried(entry, lambda entry: [self._tokens(entry, coder)])

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __getitem__(self, key: str) -> Tokens:
        """The picture of that name; only its chunk is decoded.

        Raises:
            KeyError: when there is none.
        """
        (entry, row), coder = self._places[key], self._coder
        with self._named(entry):
            return self._tokens(entry, coder)[row]

    def select(self, keys: Iterable[str]) -> Iterator[Tokens]:
        """The pictures of some names, in the order of the file; every chunk is decoded once.

        Raises:
            KeyError: when there is none of a name.
        """
        coder, rows = self._coder, defaultdict[Entry, set[int]](set)
        for entry, row in map(self._places.__getitem__, keys):
            rows[entry].add(row)
        for entry in sorted(rows, key=lambda entry: entry.offset):
            for tokens in self._tried(entry, lambda entry: [self._tokens(entry, coder)]):
                yield Tokens.concat([tokens[row] for row in sorted(rows[entry])])

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
        with self._named():
            return self.header.coder(self._prior)

    @cached_property
    def _places(self) -> dict[str, tuple[Entry, int]]:
        places, size = dict[str, tuple[Entry, int]](), 0
        for entry in self.entries:
            keys = self._tried(entry, lambda entry: self._chunk(entry).keys)
            size += sum(len(key) + _PLACE for key in keys)
            with self._named():
                if size > MAX_NAMES:
                    raise ValueError("too many names to find one by: read the pictures in order")
                for row, key in enumerate(keys):
                    if key in places:
                        raise ValueError(f"damaged: two pictures named {key!r}: read them in order")
                    places[key] = (entry, row)
        return places

    def _tried(self, entry: Entry, read: Callable[[Entry], Sequence[_T]]) -> Sequence[_T]:
        """What ``read`` returns of a chunk; when recovering, nothing of a bad one, which is noted."""
        if not self._recover:
            with self._named(entry):
                return read(entry)
        try:
            return read(entry)
        except ValueError as error:
            number = self._numbers[entry.offset]
            self._lost[number] = f"lost chunk {number}, {entry.sizes.pictures} pictures: {error}"
            return ()

    @cached_property
    def _numbers(self) -> dict[int, int]:
        """Each chunk's place from 1, by its offset."""
        return {entry.offset: number for number, entry in enumerate(self.entries, start=1)}

    def _chunk(self, entry: Entry) -> Chunk:
        self._stream.seek(entry.offset)
        tag, body = read_block(self._stream)
        chunk = read_chunk(body)
        read = Entry(entry.offset, block_size(len(body)), chunk.sizes(tokens=entry.sizes.tokens))
        if tag != CHUNK or read != entry:
            raise ValueError(_OTHER)
        return chunk

    def _tokens(self, entry: Entry, coder: Prior) -> Tokens:
        tokens = self._chunk(entry).tokens(self.header, coder)
        if entry.sizes.tokens not in (0, sum(tokens.lengths)):
            raise ValueError(_OTHER)
        return tokens

    def _indexed(self, start: int) -> list[Entry]:
        size = self.file_bytes
        self._stream.seek(max(start, size - FOOTER))
        footer = self._stream.read()
        at = int.from_bytes(footer[:8], "little")
        if len(footer) != FOOTER or footer[8:] != END or not start <= at <= size - FOOTER:
            raise ValueError(
                "cut off, or more behind its end: no index where one should be;"
                " textok decode --recover reads what is left"
            )
        self._stream.seek(at)
        tag, body = read_block(self._stream)
        entries = read_index(body, self.header, start=start)
        end = entries[-1].offset + entries[-1].length if entries else start
        if tag != INDEX or end != at or at + block_size(len(body)) + FOOTER != size:
            raise ValueError("damaged: the index does not fit the file")
        return entries

    def _recovered(self, start: int) -> list[Entry]:
        """The chunks of the index, or without a good one those before the first bad one."""
        with suppress(ValueError):
            return self._indexed(start)
        entries = list[Entry]()
        try:
            self._stream.seek(start)
            for entry in _scan(self._stream, start):
                entries.append(entry)
                check_count(len(entries))
        except ValueError as error:
            number = len(entries) + 1
            self._lost[number] = f"lost whatever follows the first {len(entries)} chunks: {error}"
        return entries

    @contextmanager
    def _named(self, entry: Entry | None = None) -> Iterator[None]:
        """A ``ValueError`` names the file, and the chunk where there are several."""
        try:
            yield
        except ValueError as error:
            place, hint = "", ""
            if entry is not None and len(self.entries) > 1:
                place = f"chunk {self._numbers[entry.offset]} of {len(self.entries)}: "
                hint = "; textok decode --recover reads the others"
            raise ValueError(f"{self.path}: {place}{error}{hint}") from error


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
