"""Writing .ttk files: compressed tokens of one or many pictures. The format is in docs/ttk.md, byte by byte."""

import shutil
import stat
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
from textok.writing import only_writer, replacing


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
        self.header, self._stream = header, stream
        self._coder = header.coder(prior) if before is None else before.coder
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
    """Add pictures to a file: a copy of it grows under a temporary name, and takes its place when it is whole.

    When that fails or is killed, the file is as it was. Who reads it meanwhile goes on reading the old one.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a good one, needs another prior, or another process is writing it.
    """
    target = Path(path).resolve()  # of a link the file behind it
    if not target.is_file():
        raise FileNotFoundError(f"{path}: no such file to append to")
    mode = stat.S_IMODE(target.stat().st_mode)
    with only_writer(target):
        with replacing(target) as temporary, open(temporary, "wb") as stream:
            with TtkReader(path, prior=prior) as reader, open(target, "rb") as before:
                shutil.copyfileobj(before, stream)
                stream.seek(reader.end)
                stream.truncate()
                writer = TtkWriter(stream, reader.header, prior=prior, before=reader)
            with writer:
                yield writer
        target.chmod(mode)
