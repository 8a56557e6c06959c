"""What pictures and captions were when they were read: a hash of each, so that a change is named and not only noticed.

The fast identity of a source is its ``fingerprint``: names, sizes and times. Where that differs from a record, contents
decide: files that were copied or touched are the same data, and of others it is said which changed.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from textok.data.samples import BadSampleError, Batch, RawSample, Source
from textok.display import with_progress
from textok.writing import write_text

Content = tuple[str, str]
"""Key of a sample, and its hashes as of :func:`content_of`; "" for one that cannot be read."""
DRAWN = "drawn"
"""The content of a picture that is not stored: only the settings in the source's fingerprint say what it shows."""
HALF = 16
"""Digits of a content that are the picture's; the others are those of captions and label."""
_SHOWN = 3


class ContentRecord:
    """The contents of what a run has read, in a file of its folder, and which data are the same by them."""

    def __init__(self, file: Path) -> None:
        empty: dict[str, Any] = {"same": [], "train": {}, "held_out": {}}
        self._file, self._saved = file, file.is_file()
        self._data = json.loads(file.read_text()) if self._saved else empty

    def add(self, batch: Batch) -> None:
        """Note what was read for a training batch: not of pictures that are drawn or mixed in, nor a second time."""
        pairs, known = zip(batch.keys, batch.contents, strict=False), self._data["train"]
        new = {key: content for key, content in pairs if content not in ("", DRAWN) and key not in known}
        known |= new
        self._saved &= not new

    def compare(
        self, fingerprint: str, source: Source | None, held_out: Sequence[Content], *, before: str
    ) -> dict[str, str]:
        """What changed since it was noted, by key; from now on the data count as those of the run.

        Where the fingerprint of the data is none that the run knows (``before`` is the one that it began with), the
        pictures of the source are read again, if they have contents. A run may be extended to more or fewer held out.
        """
        data, self._saved = self._data, False
        judges, judged = data["held_out"], {key: content for key, content in held_out if content != DRAWN}
        both = judges.keys() & judged.keys() if len(judges) != len(judged) else {*judges, *judged}
        changed = {key: change for key, change in changes(judges, judged).items() if key in both}
        same = data["same"] or [before]
        if fingerprint not in same and data["train"] and source is not None:
            now = contents_again(data["train"], source)
            changed |= changes(data["train"], now)
            data["train"] = now
        elif fingerprint not in same:
            changed["data"] = f"was {same[0]!r}, is {fingerprint!r}"
        data |= {"same": [*dict.fromkeys([*same, fingerprint])], "held_out": judged}
        return changed

    def save(self) -> None:
        """Write the file, if anything is new."""
        if not self._saved:
            write_text(self._file, json.dumps(self._data, indent=0) + "\n")
            self._saved = True


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
            yield raw.key, content_of(raw)
        except BadSampleError as error:
            yield error.bad.key, ""


def contents_again(before: Mapping[str, str], source: Source) -> dict[str, str]:
    """The contents, as they are now, of samples that were read before; with a progress bar, as it takes time."""
    places = with_progress(range(len(source)), len(source), unit="image", title="compare with what was read")
    return {key: content for key, content in read_contents(source, places) if key in before}


def stale_parts(
    source: Source, parts: Sequence[tuple[Sequence[int], Sequence[Content]]]
) -> tuple[list[int], dict[str, str]]:
    """Which parts of an output are not of the samples that stand at their places now, and what changed, by key.

    Of each part: its places, and the contents that were recorded when it was made. They are read, and not decoded.
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
    parts = {"another picture": slice(HALF), "other captions": slice(HALF, None)}
    return " and ".join(name for name, part in parts.items() if before[part] != now[part])


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=HALF // 2).hexdigest()
