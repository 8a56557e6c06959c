"""One picture in a .ttk file, and some of them as the body of a chunk."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Integer
from torch import Tensor

from textok.codec.chunks import MAX_PICTURES, MAX_VALUES, pack, unpack
from textok.codec.header import Header
from textok.codec.layout import Sizes
from textok.codec.prior import Prior
from textok.codec.wire import Bytes, read_texts, section, texts, varint
from textok.pipeline.tokens import MAX_PATCHES

MAX_KEY, MAX_CAPTION = 1 << 10, 1 << 14  # bytes
CHUNK_PICTURES = 256
CHUNK_TEXT = 1 << 20
READ_TEXT = CHUNK_TEXT + 2 * (MAX_CAPTION + MAX_KEY)


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """One picture.

    Attributes:
        key: its name, different from the others' in the file.
        values: latents (k, c) or codes (k,).
        grid: (rows, columns) of patches of the decoded picture.
        caption: "" for a picture without; None where the file holds no captions.
    """

    key: str
    values: Float[Tensor, "k c"] | Integer[Tensor, "k"]
    grid: tuple[int, int]
    caption: str | None = None

    def check(self, header: Header) -> None:
        """Raise ``ValueError`` for what a file with this header cannot hold (values are checked when coded)."""
        rows, columns = self.grid
        if not 1 <= (length := _bytes(self.key, "key")) <= MAX_KEY:
            raise ValueError(f"key: got {length} bytes; expected 1 to {MAX_KEY}")
        if min(rows, columns) < 1 or rows * columns > MAX_PATCHES:
            raise ValueError(
                f"{self.key}: got a grid of {rows} x {columns}; expected 1 to {MAX_PATCHES} patches"
            )
        if header.captions and _bytes(self.caption or "", f"caption of {self.key}") > MAX_CAPTION:
            raise ValueError(f"{self.key}: a caption of over {MAX_CAPTION} bytes")

    @property
    def text_bytes(self) -> int:
        """Bytes of key and caption before deflating."""
        return len(self.key.encode()) + len((self.caption or "").encode()) + 8


@dataclass(frozen=True)
class Chunk:
    """A chunk's body taken apart, its tokens still coded."""

    count: int
    grid: tuple[int, int]
    names: bytes
    captions: bytes
    coded: bytes
    escapes: bytes

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the pictures."""
        return read_texts(self.names, self.count, limit=READ_TEXT)

    def sizes(self, *, tokens: int) -> Sizes:
        """What the index tells of it; the tokens, which only decoding counts, are given."""
        return Sizes(
            pictures=self.count,
            tokens=tokens,
            names=len(self.names),
            captions=len(self.captions),
            values=len(self.coded) + len(self.escapes),
        )

    def records(self, header: Header, prior: Prior) -> list[Record]:
        """The pictures.

        Args:
            header: of the file.
            prior: what ``header.coder`` gave.

        Raises:
            ValueError: when the chunk is damaged.
        """
        captions: Sequence[str | None] = (None,) * self.count
        if header.captions:
            captions = read_texts(self.captions, self.count, limit=READ_TEXT)
        numbers = unpack(self.coded, self.escapes, count=self.count, prior=prior)
        return [
            Record(key=key, values=header.to_values(rows, prior), grid=self.grid, caption=caption)
            for key, rows, caption in zip(self.keys, numbers, captions, strict=True)
        ]


def _bytes(text: str, name: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"{name}: got {text[:40]!r}; expected Unicode text (no lone surrogates)") from error


def write_chunk(records: Sequence[Record], header: Header, prior: Prior) -> tuple[bytes, Sizes]:
    """The body of a chunk of pictures of one grid, and what is in it."""
    values = [header.to_integers(record.values, prior) for record in records]
    coded, escapes = pack(values, prior)
    names = texts(record.key for record in records)
    captions = texts(record.caption or "" for record in records) if header.captions else b""
    numbers = [varint(number) for number in (len(records), *records[0].grid)]
    body = b"".join([*numbers, *map(section, (names, captions, coded, escapes))])
    sizes = Sizes(
        pictures=len(records),
        tokens=sum(map(len, values)),
        names=len(names),
        captions=len(captions),
        values=len(coded) + len(escapes),
    )
    return body, sizes


def read_chunk(body: bytes) -> Chunk:
    """A chunk's body taken apart.

    Raises:
        ValueError: when it is damaged.
    """
    reader = Bytes(body)
    count, rows, columns = reader.number(), reader.number(), reader.number()
    if not 1 <= count <= MAX_PICTURES or not 1 <= rows * columns <= MAX_PATCHES:
        raise ValueError(f"damaged: a chunk of {count} pictures of {rows} x {columns} patches")
    chunk = Chunk(count, (rows, columns), *(reader.section() for _ in range(4)))
    reader.finish()
    return chunk


def is_full(records: Sequence[Record], next_record: Record, header: Header) -> bool:
    """Whether the next picture has to begin a chunk of its own."""
    if not records:
        return False
    return (
        len(records) >= CHUNK_PICTURES
        or (len(records) + 1) * header.tokens * header.width > MAX_VALUES
        or records[0].grid != next_record.grid
        or sum(record.text_bytes for record in records) + next_record.text_bytes > CHUNK_TEXT
    )
