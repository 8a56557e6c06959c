"""The bytes below a .ttk file: varints, checked blocks, and zlib that cannot swell beyond a limit."""

import zlib
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

MAX_BLOCK = 1 << 25  # 32 MiB: no chunk a writer makes comes near it
_HEAD, _CHECK = 5, 4  # tag and length before the body, checksum behind it


@runtime_checkable
class Source(Protocol):
    """Where bytes come from: a file, a pipe, memory."""

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...


@runtime_checkable
class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> int:
        """Take these bytes."""
        ...

    def flush(self) -> None:
        """Hand on what was taken."""
        ...


class Bytes:
    """Reads one value after another from a byte string, never past its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes.

        Raises:
            ValueError: when there are not so many left.
        """
        left = len(self._data) - self._at
        if count > left:
            raise ValueError(f"damaged: {count} bytes announced where {left} are left")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self) -> int:
        """The next varint: seven bits a byte, lowest first, the top bit says that more follow; below 2^63.

        Raises:
            ValueError: when it is cut off or too long.
        """
        value = 0
        for shift in range(0, 63, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("damaged: a number longer than nine bytes")

    def section(self) -> bytes:
        """The next byte string, after its length as a varint."""
        return self.take(self.number())

    def text(self) -> str:
        """The next string: a section in UTF-8."""
        return self.section().decode()

    def finish(self) -> None:
        """Raise ``ValueError`` when anything is left."""
        if self._at != len(self._data):
            raise ValueError(f"damaged: {len(self._data) - self._at} bytes too many")


def varint(value: int) -> bytes:
    """A number from 0 to 2^63 - 1, as ``Bytes.number`` reads it."""
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def section(data: bytes) -> bytes:
    """A byte string after its length."""
    return varint(len(data)) + data


def texts(strings: Iterable[str]) -> bytes:
    """Strings one after another, deflated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(b"".join(section(text.encode()) for text in strings)) + packer.flush()


def read_texts(data: bytes, count: int, *, limit: int) -> tuple[str, ...]:
    """The ``count`` strings that ``texts`` packed, when they are no longer than ``limit`` bytes.

    Raises:
        ValueError: when they are damaged, longer or of another number.
    """
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = unpacker.decompress(data, limit)
    except zlib.error as error:
        raise ValueError(f"damaged: {error}") from error
    if unpacker.unconsumed_tail or not unpacker.eof or unpacker.unused_data:
        raise ValueError(f"damaged: text that is cut off or longer than {limit} bytes")
    reader = Bytes(plain)
    found = tuple(reader.text() for _ in range(count))
    reader.finish()
    return found


def block(tag: bytes, body: bytes) -> bytes:
    """Tag (one byte), length (32 bits), body, CRC-32 of the three; numbers are little-endian."""
    data = tag + len(body).to_bytes(4, "little") + body
    return data + zlib.crc32(data).to_bytes(4, "little")


def block_size(body: int) -> int:
    """Bytes of a block with a body of so many."""
    return _HEAD + body + _CHECK


def block_body(data: bytes) -> bytes:
    """The body of a whole block, unchecked."""
    return data[_HEAD:-_CHECK]


def read_block(stream: Source, *, limit: int = MAX_BLOCK) -> tuple[bytes, bytes]:
    """The next block's tag and body.

    Raises:
        ValueError: when it is cut off, longer than ``limit`` or its checksum is wrong.
    """
    head = read_exactly(stream, _HEAD)
    length = int.from_bytes(head[1:], "little")
    if length > limit:
        raise ValueError(f"damaged: a block of {length} bytes; expected at most {limit}")
    rest = read_exactly(stream, length + _CHECK)
    body, check = rest[:length], rest[length:]
    if zlib.crc32(head + body) != int.from_bytes(check, "little"):
        raise ValueError("damaged: a checksum does not match")
    return head[:1], body


def read_exactly(stream: Source, count: int) -> bytes:
    """So many bytes of a stream.

    Raises:
        ValueError: when it ends before.
    """
    data = read_up_to(stream, count)
    if len(data) < count:
        raise ValueError("cut off: the file ends too early")
    return data


def read_up_to(stream: Source, count: int) -> bytes:
    """So many bytes of a stream, or all that are left; a pipe may give them in parts."""
    parts, missing = [], count
    while missing and (part := stream.read(min(missing, 1 << 20))):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
