"""What pictures and captions were when they were read: a hash of each, so that a change is named and not only noticed.

The fast identity of a source is its ``fingerprint``: names, sizes and times. Where that differs from a record, contents
decide: files that were copied or touched are the same data, and of others it is said which changed.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from textok.data.samples import BadSampleError, RawSample
from textok.data.sources import Source
from textok.display import with_progress

Content = tuple[str, str]
"""Key of a sample, and its hashes as of :func:`content_of`; "" for one that cannot be read."""
DRAWN = "drawn"
"""The content of a picture that is not stored: only the settings in the source's fingerprint say what it shows."""
_DIGITS = 16
_SHOWN = 3


def content_of(raw: RawSample) -> str:
    """Hashes of the picture, and of captions and label: 16 hexadecimal digits each; of one that is drawn ``DRAWN``."""
    if not isinstance(raw.image, bytes):
        return DRAWN
    return _hash(raw.image) + _hash(repr((raw.captions, raw.label)).encode())


def read_contents(source: Source, places: Iterable[int]) -> Iterator[Content]:
    """The contents of samples of a source, which are read and not decoded."""
    for place in places:
        try:
            raw = source.read(place)
        except BadSampleError as error:
            yield error.bad.key, ""
        else:
            yield raw.key, content_of(raw)


def compare_contents(before: Mapping[str, str], source: Source) -> dict[str, str]:
    """What changed of samples that were read before, by key; with a progress bar, as all of them are read again."""
    places = with_progress(range(len(source)), len(source), unit="image", title="compare with what was read")
    now = {key: content for key, content in read_contents(source, places) if key in before}
    return changes(before, now)


def stale_parts(
    source: Source, parts: Sequence[tuple[Sequence[int], Sequence[Content]]]
) -> tuple[list[int], dict[str, str]]:
    """Which parts of an output are not of the samples that stand at their places now, and what changed, by key.

    Args:
        source: the samples as they are now; those of all parts are read, and not decoded.
        parts: the places of each, and the contents that were recorded when it was made.
    """
    before, now, stale = dict[str, str](), dict[str, str](), []
    for number, (places, old) in enumerate(parts):
        new = list(read_contents(source, places))
        before |= old
        now |= new
        if list(old) != new or DRAWN in dict(new).values():
            stale.append(number)
    changed = changes(before, now)
    return stale, changed or ({"pictures": "stand in another order"} if stale else {})


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """What differs between contents by key, in words."""
    changed = {key: _change(before.get(key), now.get(key)) for key in {**before, **now}}
    return {key: change for key, change in changed.items() if change}


def changes_error(out: object, changed: Mapping[str, str], *, remedy: str) -> ValueError:
    """The error that names what changed since an output was begun."""
    return ValueError(
        f"{out}: got other data than it was begun with ({shown_changes(changed)}), expected the same; {remedy}"
    )


def shown_changes(changed: Mapping[str, str]) -> str:
    """The first changes, for messages."""
    lines = [f"{key}: {change}" for key, change in list(changed.items())[:_SHOWN]]
    return "; ".join(lines) + (f"; and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else "")


def _change(before: str | None, now: str | None) -> str:
    if DRAWN in (before, now):
        return "is drawn otherwise"
    if before == now:
        return ""
    if not now:
        return "is gone" if now is None else "cannot be read"
    if not before:
        return "is new" if before is None else "could not be read"
    parts = {"another picture": slice(_DIGITS), "other captions": slice(_DIGITS, None)}
    return " and ".join(name for name, part in parts.items() if before[part] != now[part])


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=_DIGITS // 2).hexdigest()
