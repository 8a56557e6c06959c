"""Captions and labels out of records: the JSON of a tar, a metadata line, a table row, a file of captions by key."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from textok.data.samples import BadSample, BadSampleError, RawSample, Source
from textok.data.text import TextError, clean_text, decode_text

_CAPTION_FIELDS = ("captions", "caption", "text")
LABEL_FIELDS = ("label", "cls")
_KEY_FIELDS = ("key", "__key__")
IMAGE_FIELDS = ("image", "img", "webp", "png", "jpg", "jpeg")
_KEY_AND_CAPTION = ("key", "caption", "captions")
_TABLE = "captions.parquet"
_Row = tuple[str, Mapping[str, Any]]  # where it is, and what it says


class RecordError(ValueError):
    """A record whose captions or label cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Which fields to read; None takes the first known name that is there. ``image`` may be the file ending in tars."""

    image: str | None = None
    caption: str | None = None
    label: str | None = None


class Columns(NamedTuple):
    """The columns of a table that hold what is read."""

    image: str
    caption: str | None
    label: str | None
    key: str | None

    @classmethod
    def of(cls, names: Sequence[str], fields: Fields, *, where: str) -> "Columns":
        """Those asked for, else those of known names; ``ValueError`` for a missing one, or without a picture column."""
        for name in (fields.image, fields.caption, fields.label):
            if name is not None and name not in names:
                raise ValueError(f"{where}: no column '{name}'; found {list(names)}")

        def first(known: Sequence[str]) -> str | None:
            return next((name for name in known if name in names), None)

        image = fields.image or first(IMAGE_FIELDS)
        if image is None:
            raise ValueError(
                f"{where}: no picture column: found {list(names)}, expected one of {list(IMAGE_FIELDS)}; "
                "name it with image_field"
            )
        caption, label = fields.caption or first(_CAPTION_FIELDS), fields.label or first(LABEL_FIELDS)
        return cls(image, caption, label, first(_KEY_FIELDS))


def parse_record(text: bytes) -> dict[str, Any]:
    """A JSON object from bytes; ``RecordError`` when it is not a JSON object."""
    try:
        record = json.loads(decode_text(text))
    except TextError as error:
        raise RecordError(f"metadata is not Unicode: {error}") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"metadata is not valid JSON: {error}") from error
    if not isinstance(record, dict):
        raise RecordError(f"metadata is a JSON {type(record).__name__}; expected an object")
    return record


def read_captions(record: Mapping[str, Any], field: str | None) -> tuple[str, ...]:
    """The clean captions of a record; ``RecordError`` for a missing asked field, or what is no whole string."""
    name = _present(record, _CAPTION_FIELDS) if field is None else field
    if name is None:
        return ()
    if name not in record:
        raise RecordError(f"no field '{name}' in the record; found {sorted(record)}")
    value = record[name]
    captions = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(captions, list | tuple) or not all(isinstance(c, str) for c in captions):
        raise RecordError(f"field '{name}' holds {value!r:.80}; expected a string or a list of strings")
    try:
        return tuple(clean for caption in captions if (clean := clean_text(caption)))
    except TextError as error:
        raise RecordError(str(error)) from error


def read_label(record: Mapping[str, Any], field: str | None) -> int | None:
    """The integer label of a record; ``RecordError`` when the asked field holds no integer, None for any other."""
    name = _present(record, LABEL_FIELDS) if field is None else field
    value = record.get(name) if name is not None else None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if field is None:
        return None
    raise RecordError(f"label field '{field}' holds {value!r:.80}; expected an integer")


def stored_sample(
    record: Callable[[], Mapping[str, Any]],
    image: Callable[[], bytes],
    *,
    key: str,
    shard: str,
    fields: Fields,
) -> RawSample:
    """A sample by what reads its record and its picture; ``BadSampleError`` when a part cannot be read."""
    try:
        content = record()
        return RawSample(
            key=key,
            shard=shard,
            captions=read_captions(content, fields.caption),
            label=read_label(content, fields.label),
            facts=json.dumps(content["facts"]) if "facts" in content else "",
            image=image(),
        )
    except (RecordError, TextError) as error:
        raise BadSampleError(BadSample(key=key, shard=shard, reason=str(error))) from error


def _present(record: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if record.get(name) is not None), None)


def read_caption_file(file: str | Path) -> dict[str, tuple[str, ...]]:
    """The captions of each key, in the order of the file.

    It is .parquet or .jsonl with ``key`` and ``caption`` or ``captions`` (several rows per key are several captions), a
    .json object ``{key: caption or captions}``, or a folder that ``textok caption`` wrote. ``FileNotFoundError`` when
    it is not there, ``ValueError`` when it holds anything else; names the line or the key.
    """
    path = Path(file)
    if path.is_dir():
        lines = path / "captions.jsonl"
        path = lines if lines.is_file() and not (path / _TABLE).is_file() else path / _TABLE
    if not path.is_file():
        raise FileNotFoundError(
            f"captions: got {path}, expected a .parquet, .jsonl or .json file of captions"
        )
    readers = {".parquet": _parquet_rows, ".jsonl": _json_lines}
    captions: dict[str, tuple[str, ...]] = {}
    for place, record in readers.get(path.suffix.lower(), _json_object)(path):
        key = record.get("key")
        try:
            if not isinstance(key, str):
                raise RecordError(f"'key' is {key!r:.80}; expected the key of a picture")
            captions[key] = captions.get(key, ()) + read_captions(record, None)
        except RecordError as error:
            raise ValueError(f"captions: got {path}, {place}: {error}") from error
    return captions


def first_captions(file: str | Path) -> dict[str, str]:
    """The first caption of each key, "" where there is none; errors as :func:`read_caption_file`."""
    return {key: captions[0] if captions else "" for key, captions in read_caption_file(file).items()}


class CaptionedSource(Source):
    """A source whose samples have the captions of a file, by key, or none; those of the source are not used."""

    def __init__(self, source: Source, captions: Mapping[str, tuple[str, ...]]) -> None:
        self._source, self._captions = source, captions
        self.shard_lengths, self.max_window = source.shard_lengths, source.max_window
        self.census, self.splits = source.census, source.splits
        content = hashlib.sha256(repr(sorted(captions.items())).encode(errors="replace"))
        self.fingerprint = f"{source.fingerprint}-{content.hexdigest()[:16]}"

    def read(self, index: int) -> RawSample:
        """The sample at ``index`` with its captions; raises :class:`BadSampleError` when it cannot be read."""
        sample = self._source.read(index)
        return replace(sample, captions=self._captions.get(sample.key, ()))

    def captions(self) -> Iterator[str]:
        """Every caption of the file."""
        return chain.from_iterable(self._captions.values())


def _parquet_rows(path: Path) -> Iterable[_Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if name in _KEY_AND_CAPTION]
            for batch in file.iter_batches(columns=names, use_threads=False):
                yield from (("a row", row) for row in batch.to_pylist())
    except pa.ArrowException as error:
        raise ValueError(f"captions: got {path}, which is not a readable parquet file ({error})") from error


def _json_lines(path: Path) -> Iterable[_Row]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                if line.strip():
                    yield f"line {number}", parse_record(line)
            except RecordError as error:
                raise ValueError(f"captions: got {path}, line {number}: {error}") from error


def _json_object(path: Path) -> Iterable[_Row]:
    expected = "expected {key: caption}"
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"captions: got {path}, which is not JSON ({error}), {expected}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"captions: got a JSON {type(content).__name__} in {path}, {expected}")
    return [(f"key {key!r}", {"key": key, "captions": value}) for key, value in content.items()]
