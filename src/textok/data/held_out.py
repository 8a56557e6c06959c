"""Which pictures a training learns from, and which are held out to judge it."""

import hashlib
import re
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from textok.data.config import DataConfig
from textok.data.samples import Source, SourceSubset, SplitError
from textok.display import note

_BEST_FIRST = ("val", "validation", "valid", "dev", "eval", "test")
_JUDGES = re.compile(rf"({'|'.join(_BEST_FIRST)})(?![a-z])")
"""Names of parts to judge by, also such as val2017 and test-drawing."""
SHARE, LEAST, MOST = 0.02, 8, 1000
"""How many pictures are held out where no part is named: this share, but at least and at most so many."""


@dataclass(frozen=True)
class TrainingPictures:
    """What a training learns from, and what is held out to judge it; the latter's name, and for the record how."""

    train: Source
    held_out: Source
    name: str
    facts: dict[str, Any] = field(default_factory=dict)


def open_training(config: DataConfig, *, source: str | None, split: str | None) -> TrainingPictures:
    """Open the pictures to train on and those held out.

    Without a split, or with a split train that is not there, the training takes a part whose name begins with train,
    or the only one that is not for judging; all of a source without parts. Held out are: another source; the part
    ``split`` of the same one; a part called val, validation, valid, dev or test; or else a few pictures by the hash of
    their keys, which are the same whatever the order of the files.

    ``FileNotFoundError`` when the source is not there, which says where it was looked for; ``ValueError`` when there is
    a choice of parts that nothing decides, or too few pictures.
    """
    train = open_train(config)
    if source is not None:
        return TrainingPictures(train, _open_part(replace(config, source=source, split=split)), source)
    try:
        return TrainingPictures(train, replace(config, split=split).open(), split or "held out")
    except SplitError as error:
        parts = [part for part in error.splits if part != config.split]
    found = [(_BEST_FIRST.index(match[1]), part) for part in parts if (match := _JUDGES.match(part))]
    if not found:
        return hold_out(train, config.source)
    _, part = min(found, key=itemgetter(0))
    note(f"{config.source}: the part {part} is held out for validation")
    return TrainingPictures(train, replace(config, split=part).open(), part)


def hold_out(source: Source, name: str) -> TrainingPictures:
    """Hold out a few pictures of a source: those whose keys have the smallest hashes; ``ValueError`` for too few."""
    total = len(source)
    count = min(max(LEAST, round(SHARE * total)), MOST, total // 2)
    if not count:
        raise ValueError(f"{name}: got {total} pictures, expected at least 2: one to train on, one held out")
    hashes = [hashlib.blake2b(key.encode(), digest_size=8).digest() for key in source.keys()]  # noqa: SIM118
    ranked = sorted(range(total), key=hashes.__getitem__)
    held_out, rest = (SourceSubset(source, sorted(part)) for part in (ranked[:count], ranked[count:]))
    note(f"{name}: {count} of {total:,} pictures are held out for validation, by the hash of their names")
    facts = {"held_out": {"rule": "smallest hashes of keys", "count": count}}
    return TrainingPictures(rest, held_out, "held out", facts)


def open_train(config: DataConfig) -> Source:
    """Open the pictures to train on; which part, and errors, as :func:`open_training`."""
    try:
        return _open_part(config)
    except SplitError as error:
        others = [part for part in error.splits if not _JUDGES.match(part)]
        parts = [part for part in others if part.startswith("train")] or others
        if config.split not in (None, "train") or len(parts) != 1:
            raise
    except FileNotFoundError as error:
        start = "" if Path(config.source).is_absolute() else f", a relative path: it starts at {Path.cwd()}"
        raise FileNotFoundError(
            f"{error} (data.source is {config.source}{start}); run from the folder that holds the data, or set "
            "data.source (--data.source PATH)"
        ) from error
    note(f"{config.source}: the part {parts[0]} is trained on")
    return replace(config, split=parts[0]).open()


def _open_part(config: DataConfig) -> Source:
    try:
        return config.open()
    except SplitError as error:
        known = [part for part in error.splits if part.startswith("train") or _JUDGES.match(part)]
        if len(error.splits) > 1 or known:
            raise
    if config.split is not None:
        note(f"{config.source}: has no parts, so all of it is taken and not {config.split!r}")
    return replace(config, split=None).open(all_parts=True)
