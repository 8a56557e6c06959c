"""Webdataset tars: ``KEY.webp|png|jpg|jpeg`` beside ``KEY.json`` or ``KEY.txt`` (and ``KEY.cls``).

A tar is indexed once (offsets only) and samples are then read straight from it: nothing is unpacked.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from textok.data.files import MAX_IMAGE_BYTES, MAX_TEXT_BYTES, fingerprint_files
from textok.data.records import Fields, RecordError, parse_record, read_captions, read_label
from textok.data.samples import BadSample, BadSampleError, RawSample
from textok.data.sources.tar_index import PARTS, index_tar

_LIMITS = {"image": MAX_IMAGE_BYTES, "json": MAX_TEXT_BYTES, "txt": MAX_TEXT_BYTES, "cls": 64}


class TarSource:
    """Samples of one or more plain tar files, in file order.

    Args:
        paths: the shards.
        fields: which fields and which image ending to read.

    Raises:
        ValueError: when a tar is damaged, compressed, or holds no picture.
    """

    def __init__(self, paths: Sequence[Path], *, fields: Fields) -> None:
        self._paths = [str(path) for path in paths]
        self._fields = fields
        indices = [index_tar(path, image_ending=fields.image) for path in paths]
        self.shard_lengths = [len(index.keys) for index in indices]
        self.max_window = None
        self._keys = np.concatenate([index.keys for index in indices])
        self._spans = np.concatenate([index.spans for index in indices])
        self._shards = np.repeat(np.arange(len(paths)), self.shard_lengths)
        self.fingerprint = fingerprint_files(paths, len(self))

    def __len__(self) -> int:
        return len(self._keys)

    def read(self, index: int) -> RawSample:
        """The sample at ``index``, not decoded.

        Raises:
            BadSampleError: when a part is missing, oversized or malformed.
        """
        shard, key = self._paths[self._shards[index]], self._keys[index].decode()
        try:
            parts = self._read_parts(index, PARTS)
            if "image" not in parts:
                raise RecordError("no picture beside the metadata")
            captions, label = self._texts(parts)
        except RecordError as error:
            raise BadSampleError(BadSample(key=key, shard=shard, reason=str(error))) from error
        return RawSample(key=key, shard=shard, image=parts["image"], captions=captions, label=label)

    def captions(self) -> Iterator[str]:
        """Every caption of every sample, in order; samples whose metadata is unreadable are passed over."""
        for index in range(len(self)):
            try:
                captions, _ = self._texts(self._read_parts(index, PARTS[1:]))
            except RecordError:
                continue
            yield from captions

    def _read_parts(self, index: int, names: Sequence[str]) -> dict[str, bytes]:
        parts = {}
        with open(self._paths[self._shards[index]], "rb") as file:
            for name in names:
                offset, size = (int(v) for v in self._spans[index, PARTS.index(name)])
                if offset >= 0:
                    parts[name] = _read_span(file, offset, size, limit=_LIMITS[name])
        return parts

    def _texts(self, parts: dict[str, bytes]) -> tuple[tuple[str, ...], int | None]:
        record = parse_record(parts["json"]) if "json" in parts else {}
        if "txt" in parts and self._fields.caption is None:
            record.setdefault("text", parts["txt"].decode(errors="replace"))
        if "cls" in parts and parts["cls"].strip().isdigit():
            record.setdefault("cls", int(parts["cls"]))
        return read_captions(record, self._fields.caption), read_label(record, self._fields.label)


def _read_span(file: BinaryIO, offset: int, size: int, *, limit: int) -> bytes:
    if size > limit:
        raise RecordError(f"a member of {size:,} bytes, over the limit of {limit:,}")
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise RecordError(f"the tar ends inside the sample ({len(data)} of {size} bytes); was it changed?")
    return data
