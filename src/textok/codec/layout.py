"""The outermost layer of a .ttk file: magic, blocks, index, footer."""

from collections.abc import Sequence
from dataclasses import dataclass

from textok.codec.chunks import MAX_PICTURES, MAX_VALUES
from textok.codec.header import MAX_HEADER, Header
from textok.codec.wire import MAX_BLOCK, Bytes, Source, block_size, read_block, read_up_to, varint

MAGIC = b"\x89TTK\r\n\x1a\n"  # as in PNG: shows 7-bit channels and changed line ends
VERSION = 1
HEADER, CHUNK, INDEX = b"H", b"C", b"I"
END = b"TTKe"
MAX_CHUNKS = 1 << 18  # of 256 pictures: 67 million
FOOTER = 12  # bytes: where the index begins, and END
_START = len(MAGIC) + 2
_FRAME = block_size(7)  # of a chunk: what is in no section; three numbers and the lengths of four sections


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a chunk holds; in bytes, but ``pictures`` and ``tokens`` (0 where no index tells them)."""

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


def check_count(chunks: int) -> None:
    """Raise ``ValueError`` for more chunks than a file may have: found one by one they would fill the memory."""
    if chunks > MAX_CHUNKS:
        raise ValueError(f"damaged: {chunks} chunks; expected at most {MAX_CHUNKS}")


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


def read_index(body: bytes, header: Header, *, start: int) -> list[Entry]:
    """The chunks that the index tells of; the first begins at ``start``.

    Raises:
        ValueError: when it is damaged, or tells what no chunk under that header can be.
    """
    reader, entries, at = Bytes(body), [], start
    count = reader.number()
    check_count(count)
    for _ in range(count):
        length, *numbers = (reader.number() for _ in range(6))
        names = ("pictures", "tokens", "names", "captions", "values")
        entries.append(Entry(at, length, Sizes(**dict(zip(names, numbers, strict=True)))))
        _check(entries[-1], header)
        at += length
    reader.finish()
    return entries


def _check(entry: Entry, header: Header) -> None:
    """Raise ``ValueError`` for numbers that no chunk can have, so that they are never added up."""
    sizes, told = entry.sizes, "damaged: an index with a chunk of"
    if not 1 <= sizes.pictures <= MAX_PICTURES:
        raise ValueError(f"{told} {sizes.pictures} pictures; expected 1 to {MAX_PICTURES}")
    most = min(sizes.pictures * header.tokens, MAX_VALUES // header.width)
    if not sizes.pictures <= sizes.tokens <= most:
        raise ValueError(f"{told} {sizes.tokens} tokens; expected {sizes.pictures} to {most}")
    if sizes.captions and not header.captions:
        raise ValueError(f"{told} {sizes.captions} bytes of captions, which this file leaves out")
    if not sizes.names + sizes.captions + sizes.values + _FRAME <= entry.length <= block_size(MAX_BLOCK):
        raise ValueError(f"{told} {entry.length} bytes, which its parts do not fit")
