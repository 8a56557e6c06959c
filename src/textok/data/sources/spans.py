"""Samples whose parts are spans of bytes: in files, in tars, in lists of captions. Nothing is unpacked."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from textok.data.census import Census
from textok.data.files import MAX_IMAGE_BYTES, MAX_TEXT_BYTES, read_span, shown_name
from textok.data.records import Fields, RecordError, parse_record, read_captions, read_label
from textok.data.samples import BadSample, BadSampleError, RawSample
from textok.data.sources.pairing import PARTS, Row, Span, unique_keys
from textok.data.text import TextError, decode_text

_LIMITS = {"image": MAX_IMAGE_BYTES, "json": MAX_TEXT_BYTES, "txt": MAX_TEXT_BYTES, "cls": 64}
_ABSENT = Span(-1, 0, 0)


class Store:
    """The files that spans point into. The first is memory: records that are in no file as they are needed."""

    def __init__(self) -> None:
        self.paths = [""]
        self._memory = bytearray()

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
        self._memory += data
        return len(self._memory) - len(data)

    def read(self, span: Span, *, limit: int) -> bytes:
        """The bytes of a span.

        Raises:
            RecordError: when they are over the limit, or cannot be read.
        """
        if span.size > limit:
            raise RecordError(f"a part of {span.size:,} bytes, over the limit of {limit:,}")
        if not span.file:
            return bytes(self._memory[span.offset : span.offset + span.size])
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


class SpanSource:
    """Samples by the spans of their parts.

    Args:
        rows: the samples, shard by shard.
        store: what their spans point into.
        fields: names of the caption and label fields.
        census: of the source.

    Who opens it sets ``fingerprint`` and ``splits``.
    """

    max_window = None

    def __init__(self, rows: Sequence[Row], store: Store, *, fields: Fields, census: Census) -> None:
        self._store, self._fields, self.census = store, fields, census
        self._keys = np.array([key.encode() for key in unique_keys(rows)])
        spans = [[row.parts.get(part, _ABSENT) for part in PARTS] for row in rows]
        self._spans = np.array(spans, dtype=np.int64).reshape(len(rows), len(PARTS), 3)
        self._problems = {number: row.problem for number, row in enumerate(rows) if row.problem}
        self._shard_names = list(dict.fromkeys(row.shard for row in rows))
        order = {name: number for number, name in enumerate(self._shard_names)}
        self._shards = np.array([order[row.shard] for row in rows], dtype=np.int32)
        self.shard_lengths = np.bincount(self._shards, minlength=len(order)).tolist()
        self.splits: dict[str, int] = {}
        self.fingerprint = ""

    def __len__(self) -> int:
        return len(self._keys)

    def read(self, index: int) -> RawSample:
        """The sample at ``index``, not decoded.

        Raises:
            BadSampleError: when a part is missing, oversized or malformed.
        """
        key, shard = self._keys[index].decode(), self._shard_names[self._shards[index]]
        try:
            captions, label, facts = self._texts(index)
            if index in self._problems:
                raise RecordError(self._problems[index])
            image = self._part(index, "image") or b""
        except RecordError as error:
            raise BadSampleError(BadSample(key=key, shard=shard, reason=str(error))) from error
        return RawSample(key=key, shard=shard, image=image, captions=captions, label=label, facts=facts)

    def keys(self) -> Iterator[str]:
        """The key of every sample, in order."""
        return (key.decode() for key in self._keys)

    def captions(self) -> Iterator[str]:
        """Every caption of every sample, in order; samples whose texts are unreadable are passed over."""
        for index in range(len(self)):
            try:
                captions, _, _ = self._texts(index)
            except RecordError:
                continue
            yield from captions

    def _part(self, index: int, name: str) -> bytes | None:
        span = Span(*self._spans[index, PARTS.index(name)].tolist())
        return None if span.file < 0 else self._store.read(span, limit=_LIMITS[name])

    def _texts(self, index: int) -> tuple[tuple[str, ...], int | None, str]:
        stored, text, number = (self._part(index, name) for name in PARTS[1:])
        record: dict[str, Any] = {} if stored is None else parse_record(stored)
        try:
            if text is not None and self._fields.caption is None:
                record.setdefault("text", decode_text(text))
            if number is not None and number.strip().isdigit():
                record.setdefault("cls", int(number))
            facts = json.dumps(record["facts"]) if "facts" in record else ""
            return (
                read_captions(record, self._fields.caption),
                read_label(record, self._fields.label),
                facts,
            )
        except TextError as error:
            raise RecordError(str(error)) from error
