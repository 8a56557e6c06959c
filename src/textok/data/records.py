"""Captions and labels out of a sample's record: the JSON of a tar, a metadata line, a table row."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from textok.data.samples import BadSample, BadSampleError, RawSample
from textok.data.text import TextError, clean_text, decode_text

CAPTION_FIELDS = ("captions", "caption", "text")
LABEL_FIELDS = ("label", "cls")
KEY_FIELDS = ("key", "__key__")
IMAGE_FIELDS = ("image", "img", "webp", "png", "jpg", "jpeg")


class RecordError(ValueError):
    """A record whose captions or label cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Which fields to read; None takes the first known name that is there. ``image`` may be the file ending in tars."""

    image: str | None = None
    caption: str | None = None
    label: str | None = None


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
    """The captions of a record as :func:`textok.data.text.clean_text` has them, empty ones left out.

    ``RecordError`` when the asked field is missing, or holds anything but a string or strings of whole characters.
    """
    name = _present(record, CAPTION_FIELDS) if field is None else field
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
