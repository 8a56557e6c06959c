"""The layout of a .ttk file: magic, header block, chunks of pictures, index, footer. docs/ttk.md has it byte by byte.

All that reads here raises ``ValueError`` for bytes that are cut off, damaged or over a limit.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from io import BufferedIOBase

from jaxtyping import Int
from numpy import ndarray
from torch.nn.utils.rnn import pad_sequence

from textok.codec.coding import MAX_PICTURES, MAX_VALUES, Bytes, Prior, pack, unpack, varint
from textok.codec.header import MAX_HEADER, Header
from textok.models.checkpoint import weights_hash
from textok.pipeline.tokens import MAX_PATCHES, Tokens
from textok.writing import foreign_content

MAGIC = b"\x89TTK\r\n\x1a\n"  # as in PNG: shows 7-bit channels and changed line ends
VERSION = 1
HEADER, CHUNK, INDEX = b"H", b"C", b"I"
END = b"TTKe"
FOOTER = 12  # bytes: where the index begins, and END
MAX_BLOCK = 1 << 25  # 32 MiB: no chunk that a writer makes comes near it
MAX_CHUNKS = 1 << 18  # of 256 pictures: 67 million
_MAX_KEY, _MAX_CAPTION = 1 << 10, 1 << 14  # bytes
_CHUNK_PICTURES = 256
_CHUNK_TEXT = 1 << 20
_READ_TEXT = _CHUNK_TEXT + 2 * (_MAX_CAPTION + _MAX_KEY)
_START = len(MAGIC) + 2
_HEAD, _CHECK = 5, 4  # of a block: tag and length before the body, checksum behind it
_FRAME = (
    _HEAD + 7 + _CHECK
)  # of a chunk: what is in no section; three numbers and the lengths of four sections


def block(tag: bytes, body: bytes) -> bytes:
    """Tag (one byte), length (32 bits), body, CRC-32 of the three; numbers are little-endian."""
    data = tag + len(body).to_bytes(4, "little") + body
    return data + zlib.crc32(data).to_bytes(4, "little")


def read_block(stream: BufferedIOBase, *, limit: int = MAX_BLOCK) -> tuple[bytes, bytes, int]:
    """The tag and the body of the next block, after its checksum was compared, and the bytes of the whole block."""
    head = read_up_to(stream, _HEAD)
    length = int.from_bytes(head[1:], "little")
    if length > limit:
        raise ValueError(f"damaged: a block of {length} bytes, expected at most {limit}")
    rest = read_up_to(stream, length + _CHECK)
    if len(head + rest) < (size := _HEAD + length + _CHECK):
        raise ValueError("cut off: the file ends too early")
    body, check = rest[:length], rest[length:]
    if zlib.crc32(head + body) != int.from_bytes(check, "little"):
        raise ValueError("damaged: a checksum does not match")
    return head[:1], body, size


def read_up_to(stream: BufferedIOBase, count: int) -> bytes:
    """``count`` bytes of a stream, or all that are left; in parts, so that none is taken for what is not there."""
    parts, missing = [], count
    while missing and (part := stream.read(min(missing, 1 << 20))):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def section(data: bytes) -> bytes:
    """A byte string after its length."""
    return varint(len(data)) + data


def texts(strings: Iterable[str]) -> bytes:
    """Strings one after another, deflated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(b"".join(section(text.encode()) for text in strings)) + packer.flush()


def read_texts(data: bytes, count: int, *, limit: int = _READ_TEXT) -> tuple[str, ...]:
    """The ``count`` strings that ``texts`` packed, of at most ``limit`` bytes before deflating."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = unpacker.decompress(data, limit)
    except zlib.error as error:
        raise ValueError(f"damaged: {error}") from error
    if unpacker.unconsumed_tail or not unpacker.eof or unpacker.unused_data:
        raise ValueError(f"damaged: text that is cut off or longer than {limit} bytes")
    reader = Bytes(plain)
    strings = tuple(reader.section().decode() for _ in range(count))
    reader.finish()
    return strings


def read_header(stream: BufferedIOBase) -> tuple[Header, int]:
    """The header, and where the first chunk begins."""
    start = read_up_to(stream, _START)
    if start[: len(MAGIC)] != MAGIC:
        foreign = foreign_content(start + read_up_to(stream, 100))
        raise ValueError(f"got {foreign}; expected a .ttk file" if foreign else "not a .ttk file")
    version = int.from_bytes(start[len(MAGIC) :], "little")
    if len(start) == _START and version != VERSION:
        raise ValueError(f"version: got {version}, expected {VERSION}, which this release reads")
    tag, body, size = read_block(stream, limit=MAX_HEADER)
    if tag != HEADER:
        raise ValueError(f"damaged: a block {tag!r} where the header was expected")
    return Header.from_json(body), _START + size


@dataclass(frozen=True)
class Entry:
    """A chunk in the index: where its block begins, and how many bytes, pictures and tokens there are.

    No index counts the tokens where they are 0. The last three are the bytes of the keys, the captions and the coded
    tokens.
    """

    offset: int
    length: int
    pictures: int
    tokens: int
    names: int
    captions: int
    values: int


def write_index(entries: Sequence[Entry]) -> bytes:
    """The body of the index; ``ValueError`` when there are more chunks than a file may have."""
    if len(entries) > MAX_CHUNKS:
        raise ValueError(
            f"pictures: got {len(entries)} chunks, expected at most {MAX_CHUNKS}; make two files"
        )
    numbers = [len(entries), *(number for entry in entries for number in astuple(entry)[1:])]
    return b"".join(map(varint, numbers))


def read_index(body: bytes, header: Header, *, start: int) -> list[Entry]:
    """The chunks of an index, the first of which begins at ``start``."""
    reader, entries, at = Bytes(body), list[Entry](), start
    count = reader.number()
    check_count(count)
    for _ in range(count):
        entries.append(Entry(at, *(reader.number() for _ in range(6))))
        _check(entries[-1], header)
        at += entries[-1].length
    reader.finish()
    return entries


def check_count(chunks: int) -> None:
    """Refuse more chunks than a file may have: read one by one they would fill the memory."""
    if chunks > MAX_CHUNKS:
        raise ValueError(f"damaged: {chunks} chunks, expected at most {MAX_CHUNKS}")


def _check(entry: Entry, header: Header) -> None:
    """Refuse numbers that no chunk can have, so that they are never added up."""
    chunk = "damaged: an index with a chunk of"
    if not 1 <= entry.pictures <= MAX_PICTURES:
        raise ValueError(f"{chunk} {entry.pictures} pictures, expected 1 to {MAX_PICTURES}")
    most = min(entry.pictures * header.tokens, MAX_VALUES // header.width)
    if not entry.pictures <= entry.tokens <= most:
        raise ValueError(f"{chunk} {entry.tokens} tokens, expected {entry.pictures} to {most}")
    if entry.captions and not header.captions:
        raise ValueError(f"{chunk} {entry.captions} bytes of captions, which this file leaves out")
    parts = entry.names + entry.captions + entry.values + _FRAME
    if not parts <= entry.length <= _HEAD + MAX_BLOCK + _CHECK:
        raise ValueError(f"{chunk} {entry.length} bytes, which its parts do not fit")


@dataclass(frozen=True, kw_only=True, eq=False)
class CodedPicture:
    """One picture that waits for its chunk: its tokens are the coder's integers already."""

    key: str
    caption: str
    grid: tuple[int, int]
    numbers: Int[ndarray, "k c"]

    @classmethod
    def of(cls, one: Tokens, header: Header, coder: Prior) -> "CodedPicture":
        """The only picture of ``one``; ``ValueError`` when a file with this header cannot hold it."""
        key, caption = one.keys[0], one.captions[0] if one.captions and header.captions else ""
        if weights_hash(one.model_id) != weights_hash(header.model_id):
            raise ValueError(f"{key}: got tokens of {one.model_id!r}, expected those of {header.model_id!r}")
        _check_text(key, "key", range(1, _MAX_KEY + 1))
        _check_text(caption, f"caption of {key}", range(_MAX_CAPTION + 1))
        numbers = header.to_integers(one.values[0], coder)
        return cls(key=key, caption=caption, grid=one.grid, numbers=numbers)


def _check_text(text: str, name: str, lengths: range) -> None:
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"{name}: got {text[:40]!r}, expected Unicode text (no lone surrogates)") from error
    if length not in lengths:
        raise ValueError(f"{name}: got {length} bytes, expected {lengths[0]} to {lengths[-1]}")


def has_room(waiting: Sequence[CodedPicture], following: CodedPicture, header: Header) -> bool:
    """Whether the following picture goes into the chunk of those that wait."""
    every = [*waiting, following]
    return (
        len(every) <= _CHUNK_PICTURES
        and len(every) * header.tokens * header.width <= MAX_VALUES
        and every[0].grid == following.grid
        and sum(len(one.key.encode()) + len(one.caption.encode()) + 8 for one in every) <= _CHUNK_TEXT
    )


@dataclass(frozen=True)
class Chunk:
    """A chunk's body taken apart, its tokens still coded."""

    pictures: int
    grid: tuple[int, int]
    names: bytes
    captions: bytes
    coded: bytes
    escapes: bytes

    @classmethod
    def of(cls, pictures: Sequence[CodedPicture], header: Header, coder: Prior) -> "Chunk":
        """A chunk of pictures of one grid."""
        coded, escapes = pack([picture.numbers for picture in pictures], coder)
        names = texts(picture.key for picture in pictures)
        captions = texts(picture.caption for picture in pictures) if header.captions else b""
        return cls(len(pictures), pictures[0].grid, names, captions, coded, escapes)

    @classmethod
    def read(cls, body: bytes) -> "Chunk":
        """The chunk of a body."""
        reader = Bytes(body)
        pictures, rows, columns = reader.number(), reader.number(), reader.number()
        if not 1 <= pictures <= MAX_PICTURES or not 1 <= rows * columns <= MAX_PATCHES:
            raise ValueError(f"damaged: a chunk of {pictures} pictures of {rows} x {columns} patches")
        chunk = cls(pictures, (rows, columns), *(reader.section() for _ in range(4)))
        reader.finish()
        return chunk

    def body(self) -> bytes:
        """The body of the chunk's block."""
        sections = map(section, (self.names, self.captions, self.coded, self.escapes))
        return b"".join([*map(varint, (self.pictures, *self.grid)), *sections])

    def entry(self, offset: int, length: int, *, tokens: int) -> Entry:
        """What the index records of the chunk; the tokens, which only decoding counts, are passed in."""
        values = len(self.coded) + len(self.escapes)
        return Entry(offset, length, self.pictures, tokens, len(self.names), len(self.captions), values)

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the pictures."""
        return read_texts(self.names, self.pictures)

    def tokens(self, header: Header, coder: Prior) -> Tokens:
        """The pictures, decoded by what ``header.coder`` returned."""
        captions = read_texts(self.captions, self.pictures) if header.captions else None
        numbers = unpack(self.coded, self.escapes, count=self.pictures, prior=coder)
        return Tokens(
            values=pad_sequence([header.to_values(rows, coder) for rows in numbers], batch_first=True),
            model_id=header.model_id,
            grid=self.grid,
            keys=self.keys,
            lengths=tuple(map(len, numbers)),
            captions=captions,
            settings=header.settings,
        )
