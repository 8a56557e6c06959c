"""Captions from a JSON file, for tokens that were stored without."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path


def read_captions(file: Path) -> dict[str, str]:
    """The captions of a JSON file {key: caption}.

    Raises:
        ValueError: when it holds anything else.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not JSON: {error}; expected an object {{key: caption}}") from error
    if not isinstance(found, Mapping) or not all(isinstance(text, str) for text in found.values()):
        raise ValueError(f"{file}: expected a JSON object {{key: caption}}")
    return dict(found)


def captions_from(file: Path, keys: Iterable[str]) -> tuple[str, ...]:
    """The captions of these keys.

    Raises:
        ValueError: when one is missing; names the first.
    """
    found, keys = read_captions(file), tuple(keys)
    missing = [key for key in keys if key not in found]
    if missing:
        raise ValueError(
            f"{file}: no caption for {len(missing)} of {len(keys)} keys, the first {missing[0]!r}"
        )
    return tuple(found[key] for key in keys)
