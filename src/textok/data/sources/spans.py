"""Samples whose parts are spans of bytes: in files, in tars, in lists of captions. Nothing is unpacked."""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from textok.data.census import Census
from textok.data.files import MAX_IMAGE_BYTES, MAX_TEXT_BYTES, cache_folder, read_span, shown_name
from textok.data.records import Fields, RecordError, parse_record, read_captions, stored_sample
from textok.data.samples import RawSample, Source
from textok.data.sources.pairing import PARTS, Row, Span, unique_keys
from textok.data.text import TextError, decode_text
from textok.writing import replacing

_LIMITS = {"image": MAX_IMAGE_BYTES, "json": MAX_TEXT_BYTES, "txt": MAX_TEXT_BYTES, "cls": 64}
_ABSENT = Span(-1, 0, 0)
_DIGEST_BYTES = 32


class Store:
    """The files that spans point into. The first is memory: records that are in no file as they are needed."""

    def __init__(self, paths: Sequence[str] = ("",), memory: bytes = b"") -> None:
        self.paths, self.memory = list(paths), bytearray(memory)

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

    Args:
        index: keys, spans (n, parts, 3) and shard numbers of the samples, see :meth:`of_rows`.
        problems: why a sample cannot be read, by its number.
    """

    def __init__(
        self,
        index: Mapping[str, np.ndarray],
        store: Store,
        *,
        fields: Fields,
        census: Census,
        shards: Sequence[str],
        problems: Mapping[int, str],
        splits: Mapping[str, int],
        fingerprint: str,
    ) -> None:
        self._index, self._store, self._fields, self.census = index, store, fields, census
        self._shards, self._problems = shards, problems
        self.splits, self.fingerprint = splits, fingerprint
        self.shard_lengths = np.bincount(index["shards"], minlength=len(shards)).tolist()

    @classmethod
    def of_rows(cls, rows: Sequence[Row], store: Store, **others: Any) -> "SpanSource":
        """Samples of rows, shard by shard; others as of the class."""
        shards = {name: number for number, name in enumerate(dict.fromkeys(row.shard for row in rows))}
        spans = [[row.parts.get(part, _ABSENT) for part in PARTS] for row in rows]
        index = {
            "keys": np.array([key.encode() for key in unique_keys(rows)]),
            "spans": np.array(spans, dtype=np.int64).reshape(len(rows), len(PARTS), 3),
            "shards": np.array([shards[row.shard] for row in rows], dtype=np.int32),
        }
        problems = {number: row.problem for number, row in enumerate(rows) if row.problem}
        return cls(index, store, shards=list(shards), problems=problems, **others)

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
        facts = json.loads(index.pop("facts").tobytes())
        paths, unpacked = facts.pop("paths"), f"{cache_folder('tars')}/"
        if any(path.startswith(unpacked) and not Path(path).is_file() for path in paths):
            return None
        store = Store(paths, index.pop("memory").tobytes())
        census, problems = Census.of_facts(facts.pop("census")), dict(facts.pop("problems"))
        return cls(index, store, fields=fields, census=census, problems=problems, **facts)

    def save(self, file: Path, identity: str) -> None:
        """Write where everything is, to be opened faster; where that is not possible nothing is lost."""
        facts = {
            "paths": self._store.paths,
            "census": self.census.facts(),
            "problems": list(self._problems.items()),
            "shards": self._shards,
            "splits": self.splits,
            "fingerprint": self.fingerprint,
        }
        texts = {"facts": json.dumps(facts).encode(), "memory": bytes(self._store.memory)}
        coded = {name: np.frombuffer(text, np.uint8) for name, text in texts.items()}
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **self._index, **coded)
        digest = hashlib.sha256(content.getvalue() + identity.encode()).digest()
        with suppress(OSError), replacing(file, shared=True) as temporary:
            temporary.write_bytes(digest + content.getvalue())

    def __len__(self) -> int:
        return len(self._index["keys"])

    def read(self, index: int) -> RawSample:
        """The sample at ``index``, not decoded; ``BadSampleError`` when a part is missing, oversized or malformed."""
        key, shard = self._index["keys"][index].decode(), self._shards[self._index["shards"][index]]
        return stored_sample(
            lambda: self._record(index),
            lambda: self._picture(index),
            key=key,
            shard=shard,
            fields=self._fields,
        )

    def keys(self) -> Iterator[str]:
        """The key of every sample, in order."""
        return (key.decode() for key in self._index["keys"])

    def captions(self) -> Iterator[str]:
        """Every caption of every sample, in order; samples whose texts are unreadable are passed over."""
        for index in range(len(self)):
            try:
                yield from read_captions(self._record(index), self._fields.caption)
            except (RecordError, TextError):
                continue

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
