"""The outermost layer of a .ttk file: magic, blocks, index, footer."""

from collections.abc import Sequence
from dataclasses import dataclass

from textok.codec.chunks import MAX_PICTURES
from textok.codec.header import MAX_HEADER, Header
from textok.codec.wire import Bytes, Source, block_size, read_block, read_up_to, varint

MAGIC = b"\x89TTK\r\n\x1a\n"  # as in PNG: shows 7-bit channels and changed line ends
VERSION = 1
HEADER, CHUNK, INDEX = b"H", b"C", b"I"
END = b"TTKe"
MAX_CHUNKS = 1 << 18  # of 256 pictures: 67 million
FOOTER = 12  # bytes: where the index begins, and END
_START = len(MAGIC) + 2


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a chunk holds; in bytes, but ``pictures`` and ``tokens``."""

    pictures: int
    tokens: int
    names: int
    captions: int
    values: int


@dataclass(frozen=True)
class Entry:
    """A chunk in the index: where its block begins, how long that is, and what is in it."""

    offset: int
    length: int
    sizes: Sizes


def read_header(stream: Source) -> tuple[Header, int]:
    """The header, and where the first chunk begins.

    Raises:
        ValueError: when this is no .ttk file, of another version, or damaged.
    """
    start = read_up_to(stream, _START)
    if start[: len(MAGIC)] != MAGIC:
        raise ValueError("not a .ttk file")
    version = int.from_bytes(start[len(MAGIC) :], "little")
    if len(start) == _START and version != VERSION:
        raise ValueError(f"version {version}; this release reads {VERSION}")
    tag, body = read_block(stream, limit=MAX_HEADER)
    if tag != HEADER:
        raise ValueError(f"damaged: a block {tag!r} where the header was expected")
    return Header.from_json(body), _START + block_size(len(body))


def write_index(entries: Sequence[Entry]) -> bytes:
    """The body of the index.

    Raises:
        ValueError: when there are more chunks than a file may have.
    """
    if len(entries) > MAX_CHUNKS:
        raise ValueError(
            f"pictures: {len(entries)} chunks of them; expected at most {MAX_CHUNKS}: make two files"
        )
    numbers = [len(entries)]
    for entry in entries:
        sizes = entry.sizes
        numbers += [entry.length, sizes.pictures, sizes.tokens, sizes.names, sizes.captions, sizes.values]
    return b"".join(map(varint, numbers))


def read_index(body: bytes, *, start: int) -> list[Entry]:
    """The chunks that the index tells of; the first begins at ``start``.

    Raises:
        ValueError: when it is damaged.
    """
    reader, entries, at = Bytes(body), [], start
    count = reader.number()
    if count > MAX_CHUNKS:
        raise ValueError(f"damaged: an index of {count} chunks; expected at most {MAX_CHUNKS}")
    for _ in range(count):
        length, *numbers = (reader.number() for _ in range(6))
        if not 1 <= numbers[0] <= MAX_PICTURES:
            raise ValueError(
                f"damaged: an index with a chunk of {numbers[0]} pictures; expected 1 to {MAX_PICTURES}"
            )
        names = ("pictures", "tokens", "names", "captions", "values")
        entries.append(Entry(at, length, Sizes(**dict(zip(names, numbers, strict=True)))))
        at += length
    reader.finish()
    return entries
