"""The bytes below a .ttk file: varints, checked blocks, and zlib that cannot swell beyond a limit.

All that reads here raises ``ValueError`` for bytes that are cut off, damaged or over a limit.
"""

import zlib
from collections.abc import Iterable
from io import BufferedIOBase

MAX_BLOCK = 1 << 25  # 32 MiB: no chunk that a writer makes comes near it
_HEAD, _CHECK = 5, 4  # tag and length before the body, checksum behind it


class Bytes:
    """Reads one value after another from a byte string, never past its end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        left = len(self._data) - self._at
        if count > left:
            raise ValueError(f"damaged: {count} bytes announced where {left} are left")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self) -> int:
        """The next varint, below 2^63: seven bits per byte, lowest first; the top bit says that more follow."""
        value = 0
        for shift in range(0, 63, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("damaged: a number longer than nine bytes")

    def section(self) -> bytes:
        """The next byte string, which follows its length."""
        return self.take(self.number())

    def finish(self) -> None:
        """Check that nothing is left."""
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


def block(tag: bytes, body: bytes) -> bytes:
    """Tag (one byte), length (32 bits), body, CRC-32 of the three; numbers are little-endian."""
    data = tag + len(body).to_bytes(4, "little") + body
    return data + zlib.crc32(data).to_bytes(4, "little")


def block_size(body: int) -> int:
    """Bytes of a block whose body has ``body`` bytes."""
    return _HEAD + body + _CHECK


def read_block(stream: BufferedIOBase, *, limit: int = MAX_BLOCK) -> tuple[bytes, bytes]:
    """The tag and the body of the next block, after its checksum was compared."""
    head = _read_exactly(stream, _HEAD)
    length = int.from_bytes(head[1:], "little")
    if length > limit:
        raise ValueError(f"damaged: a block of {length} bytes, expected at most {limit}")
    rest = _read_exactly(stream, length + _CHECK)
    body, check = rest[:length], rest[length:]
    if zlib.crc32(head + body) != int.from_bytes(check, "little"):
        raise ValueError("damaged: a checksum does not match")
    return head[:1], body


def _read_exactly(stream: BufferedIOBase, count: int) -> bytes:
    data = read_up_to(stream, count)
    if len(data) < count:
        raise ValueError("cut off: the file ends too early")
    return data


def read_up_to(stream: BufferedIOBase, count: int) -> bytes:
    """``count`` bytes of a stream, or all that are left; in parts, so that none is taken for what is not there."""
    parts, missing = [], count
    while missing and (part := stream.read(min(missing, 1 << 20))):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
