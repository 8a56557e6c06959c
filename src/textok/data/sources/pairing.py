"""Which files belong to one sample: pictures and what lies beside them under the same name."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from textok.data.census import Census
from textok.data.files import shown_name

PICTURE_SUFFIXES = frozenset(
    {
        ".apng", ".avif", ".avifs", ".blp", ".bmp", ".cur", ".dcx", ".dds", ".dib", ".fli", ".flc", ".ftc",
        ".ftu", ".gif", ".heic", ".heif", ".icns", ".ico", ".im", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc",
        ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".jxl", ".msp", ".pbm", ".pcx", ".pfm", ".pgm", ".png", ".pnm",
        ".ppm", ".psd", ".qoi", ".ras", ".rgb", ".rgba", ".sgi", ".tga", ".tif", ".tiff", ".webp", ".xbm",
        ".xpm",
    }
)  # fmt: skip
"""Suffixes of pictures, for folders and tars alike: what Pillow reads, and what phones write and it may not read."""

PARTS = ("image", "json", "txt", "cls")
"""What a sample is stored in: the picture, a JSON object, a text that is one caption, the number of a class."""

_BESIDE = {".json": "json", ".txt": "txt", ".caption": "txt", ".cls": "cls"}


class Span(NamedTuple):
    """Where bytes are: number of the file, first byte, count."""

    file: int
    offset: int
    size: int


class Entry(NamedTuple):
    """A stored file or member by its name, and where its bytes are."""

    name: str
    span: Span


@dataclass(slots=True, kw_only=True)
class Row:
    """A sample in the making.

    Attributes:
        name: of its picture.
        key: of the sample.
        parts: where each of its parts is.
        problem: why it cannot be read; "" when it can.
        shard: what error messages name as its place.
    """

    name: str
    key: str
    parts: dict[str, Span] = field(default_factory=dict)
    problem: str = ""
    shard: str = ""


def pair(entries: Iterable[Entry], census: Census, *, image_suffix: str | None = None) -> list[Row]:
    """Put pictures and what lies beside them together, by their names without the suffix.

    Names are compared as they are, then without regard to case. A picture is known by its suffix: everything from
    the last dot, so that keys may hold dots.

    Args:
        entries: stored files or members; of two with the same name the later one counts, as in a tar.
        census: counts what is passed over, and what lies beside pictures.
        image_suffix: the suffix of the pictures, where it is not any usual one.

    Returns:
        A row for each picture, in the order of ``entries``.
    """
    rows: dict[str, Row] = {}
    beside: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        stem, part = _stem_and_part(entry.name, image_suffix)
        if part is None:
            census.pass_over("other files", [shown_name(entry.name)])
        elif part != "image":
            beside.setdefault((stem, part), []).append(entry)
        else:
            if entry.name in rows:
                census.pass_over("replaced by a later member of the same name", [shown_name(entry.name)])
            rows[entry.name] = Row(name=entry.name, key=stem, parts={"image": entry.span})
    _attach(rows.values(), beside, census)
    return list(rows.values())


def is_picture(name: str) -> bool:
    """Whether the suffix is that of a picture."""
    return _stem_and_part(name, None)[1] == "image"


def _stem_and_part(name: str, image_suffix: str | None) -> tuple[str, str | None]:
    stem, dot, suffix = name.rpartition(".")
    suffix = dot + suffix.lower()
    if image_suffix is not None:
        ending = f".{image_suffix.lower().lstrip('.')}"
        if name.lower().endswith(ending):
            return name[: -len(ending)], "image"
    elif suffix in PICTURE_SUFFIXES and stem.rpartition("/")[2]:
        return stem, "image"
    return stem, _BESIDE.get(suffix) if dot else None


def _attach(rows: Iterable[Row], beside: dict[tuple[str, str], list[Entry]], census: Census) -> None:
    pictures: dict[str, list[Row]] = {}
    for row in rows:
        pictures.setdefault(row.key, []).append(row)
    folded = {key.casefold(): key for key in pictures}
    for (stem, part), entries in beside.items():
        key = stem if stem in pictures else folded.get(stem.casefold())
        first, *others = sorted(entries, key=lambda entry: not entry.name.lower().endswith(".txt"))
        names = [shown_name(entry.name) for entry in others]
        census.pass_over("second captions of the same picture", names)
        if key is None:
            reason = "other files" if part == "json" else "texts without a picture"
            census.pass_over(reason, [shown_name(first.name)])
            continue
        census.beside += 1
        for row in pictures[key]:
            row.parts.setdefault(part, first.span)


def unique_keys(rows: Iterable[Row]) -> Iterator[str]:
    """A key for each row, each once: the name without its suffix; where two share it, whole names with the shard."""
    rows = list(rows)
    counts, names = Counter(row.key for row in rows), Counter(row.name for row in rows)
    given: set[str] = set()
    for row in rows:
        key = row.key
        if counts[row.key] > 1:
            shard = row.shard.rpartition("/")[2].rpartition(".")[0]
            key = row.name if names[row.name] == 1 else f"{shard}/{row.name}"
        key = shown_name(key)
        while key in given:
            key += "~"
        given.add(key)
        yield key
