"""What of a small picture file is the picture: bytes without what is the same in all files of one setting.

Most of a JPEG or AVIF of a few hundred bytes is header. A container that kept the header once for many pictures, as
.ttk does, would have to store only this.
"""

import io
from collections.abc import Callable

from PIL import Image

_START_OF_SCAN, _MARKER_BYTES = 0xDA, 2
_WEBP_CHUNK_HEAD, _VP8_START = 12, 7  # RIFF head; start code of three bytes and two sides of two
_SEQUENCE_HEADER, _TEMPORAL_DELIMITER = 1, 2  # kinds of units in an AV1 stream


def payload_bytes(file: bytes, codec: str) -> int:
    """Bytes of the coded picture in a file.

    Args:
        file: a JPEG with the standard Huffman tables, a lossy WebP without alpha, or an AVIF of one picture.
        codec: "JPEG", "WebP" or "AVIF".

    Returns:
        Of a JPEG its scan, of a WebP its frame without start code and size, of an AVIF its units without the
        sequence header.

    Raises:
        ValueError: for a file that is not of that form.
    """
    try:
        return _COUNTED[codec](file)
    except (IndexError, KeyError):
        raise ValueError(f"codec: this is not a {codec} file of the form that is counted") from None


def plain_jpeg(picture: Image.Image, quality: int) -> bytes:
    """The same JPEG with the standard Huffman tables: its scan is longer, but a receiver knows how to read it."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, optimize=False, progressive=False, subsampling=2)
    return file.getvalue()


def _jpeg(file: bytes) -> int:
    at = _MARKER_BYTES
    while True:
        kind, length = file[at + 1], int.from_bytes(file[at + 2 : at + 4], "big")
        at += _MARKER_BYTES + length
        if kind == _START_OF_SCAN:
            return len(file) - at - _MARKER_BYTES  # the end marker


def _webp(file: bytes) -> int:
    if file[_WEBP_CHUNK_HEAD : _WEBP_CHUNK_HEAD + 4] != b"VP8 ":
        raise KeyError
    return int.from_bytes(file[16:20], "little") - _VP8_START


def _avif(file: bytes) -> int:
    at = 0
    while file[at + 4 : at + 8] != b"mdat":
        at += int.from_bytes(file[at : at + 4], "big") or len(file)
        if at >= len(file):
            raise KeyError
    return _av1(file[at + 8 : at + int.from_bytes(file[at : at + 4], "big")])


def _av1(units: bytes) -> int:
    counted, at = 0, 0
    while at < len(units):
        start, head = at, units[at]
        kind, extended = head >> 3 & 15, head >> 2 & 1
        length, at = _leb128(units, at + 1 + extended)
        at += length
        counted += at - start if kind not in (_SEQUENCE_HEADER, _TEMPORAL_DELIMITER) else 0
    return counted


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


_COUNTED: dict[str, Callable[[bytes], int]] = {"JPEG": _jpeg, "WebP": _webp, "AVIF": _avif}
