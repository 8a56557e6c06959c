"""Files of compressed tokens: written in one pass; read in order, by key, and what is left of a damaged one."""

import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from textok.codec import layout
from textok.codec.coding import Prior
from textok.codec.header import Header
from textok.codec.layout import Chunk, CodedPicture, Entry
from textok.pipeline.tokens import Tokens

MAX_NAMES = 1 << 30  # bytes of memory for the names of a file
_PLACE = 200  # bytes of memory that a name takes besides its letters
_DIFFERENT = "damaged: a chunk is not what the index says"


def is_ttk(path: Path) -> bool:
    """Whether the file is meant to be a .ttk file: by its name, or because it begins as one."""
    with open(path, "rb") as file:
        return path.suffix == ".ttk" or file.read(len(layout.MAGIC)) == layout.MAGIC


class TtkWriter(AbstractContextManager["TtkWriter"]):
    """Writes pictures one after another; ``close`` writes the index.

    The stream is only written to, never sought in, so that a pipe will do. The prior is the one that the header names.
    """

    def __init__(self, stream: BufferedIOBase, header: Header, *, prior: Prior | None = None) -> None:
        self.header, self._stream = header, stream
        self._coder = header.coder(prior)
        self._waiting: list[CodedPicture] = []
        self._entries, self._keys, self._at = list[Entry](), set[str](), 0
        magic = layout.MAGIC + layout.VERSION.to_bytes(2, "little")
        self._write(magic + layout.block(layout.HEADER, header.to_json()))

    def add(self, tokens: Tokens) -> None:
        """Add pictures; ``ValueError`` when a name is taken, or a picture does not fit the header."""
        for one in tokens:
            picture = CodedPicture.of(one, self.header, self._coder)
            if picture.key in self._keys:
                raise ValueError(
                    f"{picture.key!r}: got a second picture of this name, expected different ones"
                )
            self._keys.add(picture.key)
            if not layout.has_room(self._waiting, picture, self.header):
                self.flush()
            self._waiting.append(picture)

    def flush(self) -> None:
        """Write what waits as a chunk of its own."""
        if self._waiting:
            chunk = Chunk.of(self._waiting, self.header, self._coder)
            data = layout.block(layout.CHUNK, chunk.body())
            tokens = sum(len(picture.numbers) for picture in self._waiting)
            self._entries.append(chunk.entry(self._at, len(data), tokens=tokens))
            self._write(data)
            self._waiting = []

    def close(self) -> None:
        """Write what waits, and the index."""
        self.flush()
        start = self._at.to_bytes(8, "little")
        self._write(layout.block(layout.INDEX, layout.write_index(self._entries)) + start + layout.END)
        self._stream.flush()

    def facts(self) -> dict[str, Any]:
        """Sizes and settings of the closed file, as plain values."""
        return _facts(self.header, self._entries, file_bytes=self._at)

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._at += len(data)

    def __exit__(self, error_type: object, *_: object) -> None:
        if error_type is None:
            self.close()


class TtkReader(AbstractContextManager["TtkReader"]):
    """A .ttk file: its header and index at once, its pictures as they are needed.

    Iterating gives sets of up to 256 pictures, ``reader["apple"]`` the picture of that name.

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
        self._stream: BufferedIOBase = open(self.path, "rb")  # noqa: SIM115 (closed by close)
        try:
            with self._named():
                self.header, start = layout.read_header(self._stream)
                self.entries = self._recovered(start) if recover else self._indexed(start)
        except BaseException:
            self.close()
            raise

    @property
    def lost(self) -> list[str]:
        """With ``recover``: a sentence for each chunk that was asked for so far and could not be read."""
        return [self._lost[number] for number in sorted(self._lost)]

    def facts(self) -> dict[str, Any]:
        """Sizes and settings, as plain values; bytes for each picture are shares of the whole file.

        They count the pictures; no ``len`` does, which ``list`` would take memory for unseen.
        """
        return _facts(self.header, self.entries, file_bytes=self._size)

    def __iter__(self) -> Iterator[Tokens]:
        """The pictures in order, one chunk at a time."""
        coder = self._coder
        for entry in self.entries:
            with self._named(entry, skip=self._recover):
                yield self._tokens(entry, coder)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __getitem__(self, key: str) -> Tokens:
        """The picture of that name, for which only its chunk is decoded; ``KeyError`` when there is none."""
        (entry, row), coder = self._places[key], self._coder
        with self._named(entry):
            return self._tokens(entry, coder)[row]

    def select(self, keys: Iterable[str]) -> Iterator[Tokens]:
        """The pictures of some names, in the order of the file; ``KeyError`` when there is none of a name."""
        coder, rows = self._coder, defaultdict[Entry, set[int]](set)
        for entry, row in map(self._places.__getitem__, keys):
            rows[entry].add(row)
        for entry in sorted(rows, key=lambda entry: entry.offset):
            with self._named(entry, skip=self._recover):
                tokens = self._tokens(entry, coder)
                yield Tokens.concat([tokens[row] for row in sorted(rows[entry])])

    def keys(self) -> list[str]:
        """Names of all pictures, in order."""
        return list(self._places)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _size(self) -> int:
        return os.fstat(self._stream.fileno()).st_size

    @cached_property
    def _coder(self) -> Prior:
        with self._named():
            return self.header.coder(self._prior)

    @cached_property
    def _places(self) -> dict[str, tuple[Entry, int]]:
        places, size = dict[str, tuple[Entry, int]](), 0
        for entry in self.entries:
            keys: tuple[str, ...] = ()
            with self._named(entry, skip=self._recover):
                keys = self._chunk(entry).keys
            size += sum(len(key) + _PLACE for key in keys)
            with self._named():
                if size > MAX_NAMES:
                    raise ValueError("too many names to find one by: read the pictures in order")
                for row, key in enumerate(keys):
                    if key in places:
                        raise ValueError(f"damaged: two pictures named {key!r}: read them in order")
                    places[key] = (entry, row)
        return places

    def _chunk(self, entry: Entry) -> Chunk:
        self._stream.seek(entry.offset)
        tag, body, size = layout.read_block(self._stream)
        chunk = Chunk.read(body)
        if tag != layout.CHUNK or entry != chunk.entry(entry.offset, size, tokens=entry.tokens):
            raise ValueError(_DIFFERENT)
        return chunk

    def _tokens(self, entry: Entry, coder: Prior) -> Tokens:
        tokens = self._chunk(entry).tokens(self.header, coder)
        if entry.tokens not in (0, sum(tokens.lengths)):
            raise ValueError(_DIFFERENT)
        return tokens

    def _indexed(self, start: int) -> list[Entry]:
        size = self._size
        self._stream.seek(max(start, size - layout.FOOTER))
        footer = self._stream.read()
        at = int.from_bytes(footer[:8], "little")
        is_whole = len(footer) == layout.FOOTER and footer[8:] == layout.END
        if not is_whole or not start <= at <= size - layout.FOOTER:
            raise ValueError(
                "cut off, or more behind its end: no index where one should be;"
                " textok decode --recover reads what is left"
            )
        self._stream.seek(at)
        tag, body, length = layout.read_block(self._stream)
        entries = layout.read_index(body, self.header, start=start)
        end = entries[-1].offset + entries[-1].length if entries else start
        if tag != layout.INDEX or end != at or at + length + layout.FOOTER != size:
            raise ValueError("damaged: the index does not fit the file")
        return entries

    def _recovered(self, start: int) -> list[Entry]:
        """The chunks of the index, or without a good one those before the first bad one."""
        with suppress(ValueError):
            return self._indexed(start)
        entries = list[Entry]()
        self._stream.seek(start)
        try:
            while (found := layout.read_block(self._stream))[0] == layout.CHUNK:
                _, body, size = found
                entries.append(Chunk.read(body).entry(start, size, tokens=0))
                layout.check_count(len(entries))
                start += size
            if found[0] != layout.INDEX:
                raise ValueError(f"damaged: a block {found[0]!r} where a chunk was expected")
        except ValueError as error:
            self._lost[len(entries) + 1] = f"lost whatever follows the first {len(entries)} chunks: {error}"
        return entries

    @contextmanager
    def _named(self, entry: Entry | None = None, *, skip: bool = False) -> Iterator[None]:
        """A ``ValueError`` names the file, and the chunk where there are several; of one to ``skip`` it is noted."""
        try:
            yield
        except ValueError as error:
            place, hint = "", ""
            if entry is not None:
                number = bisect_right(self.entries, entry.offset, key=lambda one: one.offset)
                if skip:
                    self._lost[number] = f"lost chunk {number}, {entry.pictures} pictures: {error}"
                    return
                if len(self.entries) > 1:
                    place = f"chunk {number} of {len(self.entries)}: "
                    hint = "; textok decode --recover reads the others"
            raise ValueError(f"{self.path}: {place}{error}{hint}") from error


def _facts(header: Header, entries: Sequence[Entry], *, file_bytes: int) -> dict[str, Any]:
    pictures = sum(entry.pictures for entry in entries)
    captions, values = sum(entry.captions for entry in entries), sum(entry.values for entry in entries)
    each = max(1, pictures)
    return {
        "model_id": header.model_id,
        "kind": header.kind,
        "pictures": pictures,
        "captions": "kept" if header.captions else "left out",
        "mean_tokens": sum(entry.tokens for entry in entries) / each,
        "bytes_per_image": file_bytes / each,
        "bytes_per_image_without_captions": (file_bytes - captions) / each,
        "token_bytes_per_image": values / each,
        "caption_bytes_per_image": captions / each,
        "key_bytes_per_image": sum(entry.names for entry in entries) / each,
        "file_bytes": file_bytes,
        "step": header.step / 1000 if header.kind == "latents" else None,
        "probability_model": header.prior or "plain",
        "settings": dict(header.settings),
    }
