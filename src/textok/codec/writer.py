"""Writing .ttk files: compressed tokens of one or many pictures. The format is in docs/ttk.md, byte by byte."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from textok.codec.header import Header
from textok.codec.layout import CHUNK, END, HEADER, INDEX, MAGIC, VERSION, Entry, write_index
from textok.codec.prior import Prior
from textok.codec.reader import TtkReader
from textok.codec.records import Record, is_full, write_chunk
from textok.codec.wire import Sink, block


class TtkWriter:
    """Writes pictures one after another; ``close`` writes the index.

    >>> with open("x.ttk", "wb") as stream, TtkWriter(stream, header) as writer:
    ...     writer.add(Record(key="apple", values=latents, grid=(8, 8), caption="a red apple"))

    Args:
        stream: is only written to, never sought in: a pipe will do.
        header: what holds for every picture.
        prior: the probability model that the header names.
        before: the file that the stream goes on with, its index left out; None begins a new one.
    """

    def __init__(
        self,
        stream: Sink,
        header: Header,
        *,
        prior: Prior | None = None,
        before: TtkReader | None = None,
    ) -> None:
        self.header, self._stream, self._coder = header, stream, header.coder(prior)
        self._waiting: list[Record] = []
        if before is not None:
            self._entries, self._keys, self._at = list(before.entries), set(before.keys()), before.end
            return
        start = MAGIC + VERSION.to_bytes(2, "little") + block(HEADER, header.to_json())
        self._stream.write(start)
        self._entries, self._keys, self._at = list[Entry](), set[str](), len(start)

    def add(self, record: Record) -> None:
        """Add a picture; it is written with the others of its chunk.

        Raises:
            ValueError: when its name is taken, or it does not fit the header.
        """
        record.check(self.header)
        self.header.to_integers(record.values, self._coder)
        if record.key in self._keys:
            raise ValueError(f"{record.key!r}: a picture of this name is in the file already")
        self._keys.add(record.key)
        if is_full(self._waiting, record, self.header):
            self.flush()
        self._waiting.append(record)

    def flush(self) -> None:
        """Write what waits as a chunk of its own."""
        if self._waiting:
            body, sizes = write_chunk(self._waiting, self.header, self._coder)
            data = block(CHUNK, body)
            self._stream.write(data)
            self._entries.append(Entry(self._at, len(data), sizes))
            self._at += len(data)
            self._waiting = []

    def close(self) -> None:
        """Write what waits, and the index."""
        self.flush()
        self._stream.write(block(INDEX, write_index(self._entries)) + self._at.to_bytes(8, "little") + END)
        self._stream.flush()

    def __enter__(self) -> "TtkWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()


@contextmanager
def appending(path: str | Path, *, prior: Prior | None = None) -> Iterator[TtkWriter]:
    """Add pictures to a file. When that fails, the file is as it was; when the process is killed, it is a file
    without an index, which ``TtkReader`` reads with ``recover``.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a good one, or needs another prior.
    """
    with TtkReader(path, prior=prior) as reader, open(path, "r+b") as stream:
        stream.seek(reader.end)
        index = stream.read()
        stream.seek(reader.end)
        try:
            with TtkWriter(stream, reader.header, prior=prior, before=reader) as writer:
                yield writer
        except BaseException:
            stream.seek(reader.end)
            stream.write(index)
            stream.truncate()
            raise
        stream.truncate()
