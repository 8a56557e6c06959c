"""Writing .ttk files: compressed tokens of one or many pictures. The format is in docs/ttk.md, byte by byte."""

from types import TracebackType
from typing import Any

from textok.codec.chunk_body import CodedPicture, is_full, write_chunk
from textok.codec.facts import facts_of
from textok.codec.header import Header
from textok.codec.layout import CHUNK, END, HEADER, INDEX, MAGIC, VERSION, Entry, write_index
from textok.codec.prior import Prior
from textok.codec.wire import Sink, block
from textok.pipeline.tokens import Tokens


class TtkWriter:
    """Writes pictures one after another; ``close`` writes the index.

    >>> with open("x.ttk", "wb") as stream, TtkWriter(stream, header) as writer:
    ...     writer.add(tokens)

    Args:
        stream: is only written to, never sought in: a pipe will do.
        header: what holds for every picture.
        prior: the probability model that the header names.
    """

    def __init__(self, stream: Sink, header: Header, *, prior: Prior | None = None) -> None:
        self.header, self._stream = header, stream
        self._coder = header.coder(prior)
        self._waiting: list[CodedPicture] = []
        self._entries, self._keys, self._at = list[Entry](), set[str](), 0
        self._write(MAGIC + VERSION.to_bytes(2, "little") + block(HEADER, header.to_json()))

    def add(self, tokens: Tokens) -> None:
        """Add pictures; each is written with the others of its chunk.

        Raises:
            ValueError: when a name is taken, or a picture does not fit the header.
        """
        for one in tokens:
            picture = CodedPicture.of(one, self.header, self._coder)
            if picture.key in self._keys:
                raise ValueError(
                    f"{picture.key!r}: got a second picture of this name, expected different ones"
                )
            self._keys.add(picture.key)
            if is_full(self._waiting, picture, self.header):
                self.flush()
            self._waiting.append(picture)

    def flush(self) -> None:
        """Write what waits as a chunk of its own."""
        if self._waiting:
            body, sizes = write_chunk(self._waiting, self.header, self._coder)
            data = block(CHUNK, body)
            self._entries.append(Entry(self._at, len(data), sizes))
            self._write(data)
            self._waiting = []

    def close(self) -> None:
        """Write what waits, and the index."""
        self.flush()
        start = self._at.to_bytes(8, "little")
        self._write(block(INDEX, write_index(self._entries)) + start + END)
        self._stream.flush()

    def facts(self) -> dict[str, Any]:
        """Sizes and settings of the closed file: see :func:`textok.codec.facts.facts_of`."""
        return facts_of(self.header, self._entries, file_bytes=self._at)

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._at += len(data)

    def __enter__(self) -> "TtkWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
