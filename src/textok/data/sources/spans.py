"""Samples by the spans of their parts, which lie side by side in folders and tars; nothing is unpacked."""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from textok.data.files import MAX_IMAGE_BYTES, MAX_TEXT_BYTES, Census, cache_folder, read_span, shown_name
from textok.data.records import Fields, RecordError, parse_record, read_captions, stored_sample
from textok.data.samples import RawSample, Source
from textok.data.text import TextError, decode_text
from textok.writing import replacing

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
_LIMITS = {"image": MAX_IMAGE_BYTES, "json": MAX_TEXT_BYTES, "txt": MAX_TEXT_BYTES, "cls": 64}
_DIGEST_BYTES = 32


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
    """A sample in the making, by the name of its picture; ``problem`` says why it cannot be read, if so."""

    name: str
    key: str
    parts: dict[str, Span] = field(default_factory=dict)
    problem: str = ""
    shard: str = ""


def pair(entries: Iterable[Entry], census: Census, *, image_suffix: str | None = None) -> list[Row]:
    """A row for each picture, in order, with what lies beside it under the same name without the suffix.

    Names are compared as they are, then without regard to case. A picture is known by its suffix, any usual one or the
    given one: everything from the last dot, so that keys may hold dots. Of two entries with the same name the later one
    counts, as in a tar. The census counts what is passed over, and what lies beside pictures.
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
        else:
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


class Store:
    """The files that spans point into. The first is memory: records that are in no file as they are needed."""

    def __init__(self, paths: Sequence[str] = ("",), memory: np.ndarray | None = None) -> None:
        self.paths, self.memory = list(paths), bytearray() if memory is None else memory

    def add_file(self, path: str) -> int:
        """The number of a file."""
        self.paths.append(path)
        return len(self.paths) - 1

    def add_record(self, record: dict[str, Any]) -> Span:
        """Keep a record in memory."""
        data = json.dumps(record).encode()
        return Span(0, self.add_bytes(data), len(data))

    def add_bytes(self, data: bytes) -> int:
        """Keep bytes in memory; returns where they begin."""
        self.memory += data
        return len(self.memory) - len(data)

    def read(self, span: Span, *, limit: int) -> bytes:
        """The bytes of a span; ``RecordError`` when they are over the limit, or cannot be read."""
        if span.size > limit:
            raise RecordError(f"a part of {span.size:,} bytes, over the limit of {limit:,}")
        if not span.file:
            return bytes(self.memory[span.offset : span.offset + span.size])
        path = self.paths[span.file]
        try:
            data = read_span(path, span.offset, span.size)
        except OSError as error:
            raise RecordError(f"cannot read {shown_name(path)}: {error.strerror or error}") from error
        if len(data) != span.size:
            raise RecordError(
                f"{shown_name(path)} ends inside the sample ({len(data)} of {span.size} bytes); was it changed?"
            )
        return data


class SpanSource(Source):
    """Samples by the spans of their parts.

    The index holds keys, spans (n, parts, 3), numbers of shards, and records in memory; what else there is are facts.
    """

    def __init__(self, index: dict[str, np.ndarray], facts: dict[str, Any], *, fields: Fields) -> None:
        self._index, self._facts, self._fields = index, facts, fields
        self._store, self._problems = Store(facts["paths"], index["memory"]), dict(facts["problems"])
        self.census, self.splits = Census(**facts["census"]), facts["splits"]
        self.fingerprint = facts["fingerprint"]
        self.shard_lengths = np.bincount(index["shards"], minlength=len(facts["shards"])).tolist()

    @classmethod
    def of_rows(
        cls, rows: Sequence[Row], store: Store, census: Census, *, fields: Fields, **facts: Any
    ) -> "SpanSource":
        """Samples of rows, shard by shard; other facts are the parts and the fingerprint."""
        shards = {name: number for number, name in enumerate(dict.fromkeys(row.shard for row in rows))}
        absent = Span(-1, 0, 0)
        spans = [[row.parts.get(part, absent) for part in PARTS] for row in rows]
        index = {
            "keys": np.array([key.encode() for key in unique_keys(rows)]),
            "spans": np.array(spans, dtype=np.int64).reshape(len(rows), len(PARTS), 3),
            "shards": np.array([shards[row.shard] for row in rows], dtype=np.int32),
            "memory": np.frombuffer(store.memory, dtype=np.uint8),
        }
        problems = [(number, row.problem) for number, row in enumerate(rows) if row.problem]
        facts |= {"census": vars(census), "paths": store.paths, "problems": problems, "shards": list(shards)}
        return cls(index, facts, fields=fields)

    @classmethod
    def load(cls, file: Path, identity: str, *, fields: Fields) -> "SpanSource | None":
        """What :meth:`save` wrote, if it is there, whole and of that identity."""
        try:
            data = file.read_bytes()
        except OSError:
            return None
        digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if hashlib.sha256(content + identity.encode()).digest() != digest:
            return None
        index = dict(np.load(io.BytesIO(content)))
        facts, unpacked = json.loads(index.pop("facts").tobytes()), f"{cache_folder('tars')}/"
        if any(path.startswith(unpacked) and not Path(path).is_file() for path in facts["paths"]):
            return None
        return cls(index, facts, fields=fields)

    def save(self, file: Path, identity: str) -> None:
        """Write where everything is, to be opened faster; where that is not possible nothing is lost."""
        content, facts = io.BytesIO(), np.frombuffer(json.dumps(self._facts).encode(), np.uint8)
        np.savez(content, allow_pickle=False, **self._index, facts=facts)
        digest = hashlib.sha256(content.getvalue() + identity.encode()).digest()
        with suppress(OSError), replacing(file, shared=True) as temporary:
            temporary.write_bytes(digest + content.getvalue())

    def read(self, index: int) -> RawSample:
        """The sample at ``index``, not decoded; ``BadSampleError`` when a part is missing, oversized or malformed."""
        key, shard = self._index["keys"][index].decode(), self._facts["shards"][self._index["shards"][index]]
        record, picture = partial(self._record, index), partial(self._picture, index)
        return stored_sample(record, picture, key=key, shard=shard, fields=self._fields)

    def keys(self) -> Iterator[str]:
        """The key of every sample, in order."""
        return (key.decode() for key in self._index["keys"])

    def captions(self) -> Iterator[str]:
        """Every caption of every sample, in order; samples whose texts are unreadable are passed over."""
        for index in range(len(self)):
            with suppress(RecordError, TextError):
                yield from read_captions(self._record(index), self._fields.caption)

    def _part(self, index: int, name: str) -> bytes | None:
        span = Span(*self._index["spans"][index, PARTS.index(name)].tolist())
        return None if span.file < 0 else self._store.read(span, limit=_LIMITS[name])

    def _picture(self, index: int) -> bytes:
        if index in self._problems:
            raise RecordError(self._problems[index])
        return self._part(index, "image") or b""

    def _record(self, index: int) -> dict[str, Any]:
        stored, text, number = (self._part(index, name) for name in PARTS[1:])
        record: dict[str, Any] = {} if stored is None else parse_record(stored)
        if text is not None and self._fields.caption is None:
            record.setdefault("text", decode_text(text))
        if number is not None and number.strip().isdigit():
            record.setdefault("cls", int(number))
        return record
