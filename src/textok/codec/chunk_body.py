"""Some pictures as the body of a chunk of a .ttk file."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Int
from numpy import ndarray
from torch.nn.utils.rnn import pad_sequence

from textok.codec.chunks import MAX_PICTURES, MAX_VALUES, pack, unpack
from textok.codec.header import Header
from textok.codec.layout import Sizes
from textok.codec.prior import Prior
from textok.codec.wire import Bytes, read_texts, section, texts, varint
from textok.pipeline.tokens import MAX_PATCHES, Tokens

MAX_KEY, MAX_CAPTION = 1 << 10, 1 << 14  # bytes
CHUNK_PICTURES = 256
CHUNK_TEXT = 1 << 20
READ_TEXT = CHUNK_TEXT + 2 * (MAX_CAPTION + MAX_KEY)


@dataclass(frozen=True, kw_only=True, eq=False)
class CodedPicture:
    """One picture that waits for its chunk: its tokens are the coder's integers already."""

    key: str
    caption: str
    grid: tuple[int, int]
    numbers: Int[ndarray, "k c"]

    @classmethod
    def of(cls, one: Tokens, header: Header, coder: Prior) -> "CodedPicture":
        """The only picture of ``one``.

        Raises:
            ValueError: when it is of another model, or a file with this header cannot hold it.
        """
        key, caption = one.keys[0], one.captions[0] if one.captions and header.captions else ""
        if one.model_id != header.model_id:
            raise ValueError(f"{key}: got tokens of {one.model_id!r}, expected those of {header.model_id!r}")
        if not 1 <= (length := _bytes(key, "key")) <= MAX_KEY:
            raise ValueError(f"key: got {length} bytes, expected 1 to {MAX_KEY}")
        if _bytes(caption, f"caption of {key}") > MAX_CAPTION:
            raise ValueError(f"{key}: got a caption of over {MAX_CAPTION} bytes")
        numbers = header.to_integers(one.values[0], coder)
        return cls(key=key, caption=caption, grid=one.grid, numbers=numbers)

    @property
    def text_bytes(self) -> int:
        """Bytes of key and caption before deflating."""
        return len(self.key.encode()) + len(self.caption.encode()) + 8


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
        """What the index says of the chunk; the tokens, which only decoding counts, are passed in."""
        return Sizes(
            pictures=self.count,
            tokens=tokens,
            names=len(self.names),
            captions=len(self.captions),
            values=len(self.coded) + len(self.escapes),
        )

    def tokens(self, header: Header, coder: Prior) -> Tokens:
        """The pictures.

        Args:
            header: of the file.
            coder: what ``header.coder`` returned.

        Raises:
            ValueError: when the chunk is damaged.
        """
        captions = None
        if header.captions:
            captions = read_texts(self.captions, self.count, limit=READ_TEXT)
        numbers = unpack(self.coded, self.escapes, count=self.count, prior=coder)
        return Tokens(
            values=pad_sequence([header.to_values(rows, coder) for rows in numbers], batch_first=True),
            model_id=header.model_id,
            grid=self.grid,
            keys=self.keys,
            lengths=tuple(map(len, numbers)),
            captions=captions,
            settings=header.settings,
        )


def _bytes(text: str, name: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"{name}: got {text[:40]!r}, expected Unicode text (no lone surrogates)") from error


def write_chunk(pictures: Sequence[CodedPicture], header: Header, coder: Prior) -> tuple[bytes, Sizes]:
    """The body of a chunk of pictures of one grid, and what is in it."""
    coded, escapes = pack([picture.numbers for picture in pictures], coder)
    names = texts(picture.key for picture in pictures)
    captions = texts(picture.caption for picture in pictures) if header.captions else b""
    numbers = [varint(number) for number in (len(pictures), *pictures[0].grid)]
    body = b"".join([*numbers, *map(section, (names, captions, coded, escapes))])
    chunk = Chunk(len(pictures), pictures[0].grid, names, captions, coded, escapes)
    return body, chunk.sizes(tokens=sum(len(picture.numbers) for picture in pictures))


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


def is_full(waiting: Sequence[CodedPicture], following: CodedPicture, header: Header) -> bool:
    """Whether the following picture has to begin a chunk of its own."""
    if not waiting:
        return False
    return (
        len(waiting) >= CHUNK_PICTURES
        or (len(waiting) + 1) * header.tokens * header.width > MAX_VALUES
        or waiting[0].grid != following.grid
        or sum(picture.text_bytes for picture in waiting) + following.text_bytes > CHUNK_TEXT
    )
