"""Captions and labels out of a sample's record: the JSON of a tar, a metadata line, a table row."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from textok.data.samples import BadSample, BadSampleError, RawSample
from textok.data.text import TextError, clean_text, decode_text

_CAPTION_FIELDS = ("captions", "caption", "text")
LABEL_FIELDS = ("label", "cls")
_KEY_FIELDS = ("key", "__key__")
IMAGE_FIELDS = ("image", "img", "webp", "png", "jpg", "jpeg")


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
    """The captions of a record as :func:`textok.data.text.clean_text` has them, empty ones left out.

    ``RecordError`` when the asked field is missing, or holds anything but a string or strings of whole characters.
    """
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
