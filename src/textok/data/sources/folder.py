"""Image folders: pictures with ``metadata.jsonl`` (Hugging Face ImageFolder convention) or ``.txt`` files."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from textok.data.files import MAX_IMAGE_BYTES, MAX_TEXT_BYTES, fingerprint_files, listing
from textok.data.records import Fields, RecordError, parse_record, read_captions, read_label
from textok.data.samples import BadSample, BadSampleError, RawSample

METADATA = "metadata.jsonl"
ENDINGS = {".webp", ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff"}


class MetadataSource:
    """Pictures listed in a ``metadata.jsonl``: a line each, ``file_name`` relative to it, captions, label.

    Args:
        metadata: the file.
        split: only lines whose file lies in the folder of this name; None = all lines.
        fields: ``image`` renames ``file_name``.

    Raises:
        ValueError: when no line is left.
    """

    max_window = None

    def __init__(self, metadata: Path, *, split: str | None, fields: Fields) -> None:
        self._metadata, self._fields = metadata, fields
        self._name = fields.image or "file_name"
        self._spans = self._index(split)
        self.shard_lengths = [len(self._spans)]
        self.fingerprint = fingerprint_files([metadata], len(self))

    def __len__(self) -> int:
        return len(self._spans)

    def read(self, index: int) -> RawSample:
        """The sample at ``index``, not decoded.

        Raises:
            BadSampleError: when the line is malformed, or its file is missing, oversized or elsewhere.
        """
        key = f"line {int(self._spans[index, 2])}"
        try:
            record = parse_record(self._line(index))
            name = self._file_name(record)
            key = str(name.with_suffix(""))
            image = read_image_file(self._metadata.parent / name)
            captions = read_captions(record, self._fields.caption)
            label = read_label(record, self._fields.label)
        except RecordError as error:
            bad = BadSample(key=key, shard=str(self._metadata), reason=str(error))
            raise BadSampleError(bad) from error
        return RawSample(key=key, shard=str(self._metadata), image=image, captions=captions, label=label)

    def captions(self) -> Iterator[str]:
        """Every caption of every sample, in order; malformed lines are passed over."""
        for index in range(len(self)):
            try:
                yield from read_captions(parse_record(self._line(index)), self._fields.caption)
            except RecordError:
                continue

    def _index(self, split: str | None) -> np.ndarray:
        spans, offset = [], 0
        with open(self._metadata, "rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip() and (split is None or self._is_in(line, split)):
                    spans.append((offset, len(line), number))
                offset += len(line)
        if not spans:
            inside = "" if split is None else f" whose '{self._name}' lies in {split}/"
            raise ValueError(f"{self._metadata}: found no line{inside}; expected one JSON object a line")
        return np.array(spans, dtype=np.int64)

    def _is_in(self, line: bytes, split: str) -> bool:
        try:
            return self._file_name(parse_record(line)).parts[0] == split
        except RecordError:
            return False

    def _line(self, index: int) -> bytes:
        offset, size, _ = (int(v) for v in self._spans[index])
        if size > MAX_TEXT_BYTES:
            raise RecordError(f"a line of {size:,} bytes, over the limit of {MAX_TEXT_BYTES:,}")
        with open(self._metadata, "rb") as file:
            file.seek(offset)
            return file.read(size)

    def _file_name(self, record: dict) -> PurePosixPath:
        value = record.get(self._name)
        name = PurePosixPath(value) if isinstance(value, str) else None
        if name is None or not name.parts or name.is_absolute() or ".." in name.parts:
            raise RecordError(f"'{self._name}' is {value!r:.80}; expected a file inside the folder")
        return name


class SidecarSource:
    """Pictures with a text file of the same name beside each: the whole text is one caption.

    Args:
        root: the folder.
        pictures: the pictures in it, at any depth.
    """

    max_window = None

    def __init__(self, root: Path, pictures: Sequence[Path]) -> None:
        self._root, self._pictures = root, list(pictures)
        self.shard_lengths = [len(self._pictures)]
        self.fingerprint = fingerprint_files(self._pictures, len(self))

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, index: int) -> RawSample:
        """The sample at ``index``, not decoded.

        Raises:
            BadSampleError: when the picture is missing or oversized.
        """
        path = self._pictures[index]
        key, shard = str(path.relative_to(self._root).with_suffix("")), str(self._root)
        try:
            image = read_image_file(path)
        except RecordError as error:
            raise BadSampleError(BadSample(key=key, shard=shard, reason=str(error))) from error
        return RawSample(key=key, shard=shard, image=image, captions=self._captions(path))

    def captions(self) -> Iterator[str]:
        """Every caption, in order."""
        for path in self._pictures:
            yield from self._captions(path)

    @staticmethod
    def _captions(path: Path) -> tuple[str, ...]:
        text = path.with_suffix(".txt")
        if not text.is_file():
            return ()
        with open(text, "rb") as file:
            caption = file.read(MAX_TEXT_BYTES).decode(errors="replace").strip()
        return (caption,) if caption else ()


def find_pictures(root: Path) -> list[Path]:
    """All pictures below a folder, sorted."""
    return sorted(path for path in root.rglob("*") if path.suffix.lower() in ENDINGS)


def read_image_file(path: Path) -> bytes:
    """The bytes of a picture file.

    Raises:
        RecordError: when it cannot be read, or is over ``MAX_IMAGE_BYTES``.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_IMAGE_BYTES + 1)
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_IMAGE_BYTES:
        raise RecordError(f"{path} is over the limit of {MAX_IMAGE_BYTES:,} bytes")
    return data


def open_image_folder(
    root: Path, split: str | None, *, fields: Fields
) -> MetadataSource | SidecarSource | None:
    """The pictures of a folder by its ``metadata.jsonl`` or ``.txt`` files; None when it has neither.

    Raises:
        ValueError: when fields are named for ``.txt`` files, which have none.
    """
    if (root / METADATA).is_file():
        return MetadataSource(root / METADATA, split=split, fields=fields)
    pictures = find_pictures(root) if split is None else []
    if not any(path.with_suffix(".txt").is_file() for path in pictures):
        return None
    if fields != Fields():
        raise ValueError(
            f"{root}: found {listing(pictures)} with .txt captions, which have no fields; "
            f"expected no field names, got {fields}"
        )
    return SidecarSource(root, pictures)
