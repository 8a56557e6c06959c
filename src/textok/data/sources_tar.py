"""Webdataset tars: ``KEY.webp|png|jpg|jpeg`` beside ``KEY.json`` or ``KEY.txt`` (and ``KEY.cls``).

A tar is indexed once (offsets only) and samples are then read straight from it: nothing is unpacked.
"""

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from textok.data.files import fingerprint_files
from textok.data.records import Fields, RecordError, parse_record, read_captions, read_label
from textok.data.samples import BadSample, BadSampleError, RawSample

IMAGE_ENDINGS = ("webp", "png", "jpg", "jpeg")
MAX_IMAGE_BYTES = 256 << 20
MAX_TEXT_BYTES = 1 << 20

# columns of the index: (offset, size) of each part; offset -1 = not there
_PARTS = ("image", "json", "txt", "cls")
_LIMITS = {"image": MAX_IMAGE_BYTES, "json": MAX_TEXT_BYTES, "txt": MAX_TEXT_BYTES, "cls": 64}


@dataclass(frozen=True)
class TarIndex:
    """Where the parts of a tar's samples are: ``spans`` is (n, parts, 2) with offset and size."""

    keys: np.ndarray
    spans: np.ndarray


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
            parts = self._read_parts(index, _PARTS)
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
                captions, _ = self._texts(self._read_parts(index, _PARTS[1:]))
            except RecordError:
                continue
            yield from captions

    def _read_parts(self, index: int, names: Sequence[str]) -> dict[str, bytes]:
        parts = {}
        with open(self._paths[self._shards[index]], "rb") as file:
            for name in names:
                offset, size = (int(v) for v in self._spans[index, _PARTS.index(name)])
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


def index_tar(path: Path, *, image_ending: str | None = None) -> TarIndex:
    """Find the samples of a plain tar.

    Args:
        path: the tar.
        image_ending: the ending of the pictures; None takes webp, png, jpg and jpeg.

    Raises:
        ValueError: when the tar is damaged, compressed, holds a key twice, or has no picture.
    """
    endings = IMAGE_ENDINGS if image_ending is None else (image_ending.lower().lstrip("."),)
    spans: dict[str, np.ndarray] = {}
    seen: set[str] = set()
    for name, offset, size in _members(path):
        key, ending = _split_name(name)
        seen.add(ending)
        part = "image" if ending in endings else ending
        if part in _PARTS:
            span = spans.setdefault(key, np.full((len(_PARTS), 2), -1, dtype=np.int64))
            if span[_PARTS.index(part), 0] >= 0:
                raise ValueError(f"{path}: key '{key}' has two members for '{part}'; keys must be unique")
            span[_PARTS.index(part)] = offset, size
    if not any(span[0, 0] >= 0 for span in spans.values()):
        raise ValueError(
            f"{path}: no pictures; found endings {sorted(seen)}, expected one of {list(endings)}"
        )
    return TarIndex(keys=np.array([key.encode() for key in spans]), spans=np.stack(list(spans.values())))


def _members(path: Path) -> Iterator[tuple[str, int, int]]:
    try:
        with tarfile.open(path, "r:", errors="surrogateescape") as tar:
            for member in tar:
                if member.isreg() and not member.issparse():
                    yield member.name, member.offset_data, member.size
                tar.members = []  # keep no second copy of the list
            _check_end(path, tar.offset)
    except tarfile.TarError as error:
        raise ValueError(
            f"{path}: not a whole, uncompressed tar ({error}); expected a plain .tar: "
            "decompress a .tar.gz, or download a damaged file again"
        ) from error


def _check_end(path: Path, offset: int) -> None:
    # tarfile takes a damaged header for the end of the archive and would silently lose the rest.
    with open(path, "rb") as file:
        file.seek(offset)
        if any(file.read(tarfile.BLOCKSIZE)):
            raise tarfile.ReadError(f"damaged header at byte {offset}")


def _split_name(name: str) -> tuple[str, str]:
    # the webdataset rule: the ending starts at the first dot of the base name
    path = PurePosixPath(name)
    stem, _, ending = path.name.partition(".")
    return str(path.parent / stem), ending.lower()


def _read_span(file, offset: int, size: int, *, limit: int) -> bytes:
    if size > limit:
        raise RecordError(f"a member of {size:,} bytes, over the limit of {limit:,}")
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise RecordError(f"the tar ends inside the sample ({len(data)} of {size} bytes); was it changed?")
    return data
