"""Which pictures a training learns from, and which are held out to judge it."""

import hashlib
import re
from dataclasses import dataclass, field, replace
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


@dataclass(frozen=True, kw_only=True)
class TrainingPictures:
    """The two parts of a training's pictures.

    Attributes:
        train: what is learned from.
        held_out: what judges it.
        name: of the held-out part.
        facts: how pictures were held out, for the record; empty when a part of the data is named.
    """

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

    Args:
        config: of the pictures to train on.
        source: where the held-out pictures are, when not in the same source.
        split: their part.

    Raises:
        FileNotFoundError: when the source is not there; says where it was looked for.
        ValueError: when there is a choice of parts that nothing decides, or too few pictures.
    """
    train = open_train(config)
    if source is not None:
        return TrainingPictures(
            train=train, held_out=_open_part(replace(config, source=source, split=split)), name=source
        )
    try:
        return TrainingPictures(
            train=train, held_out=replace(config, split=split).open(), name=split or "held out"
        )
    except SplitError as error:
        found = [
            (match, part) for part in error.splits if part != config.split and (match := _JUDGES.match(part))
        ]
        parts = [part for _, part in sorted(found, key=lambda pair: _BEST_FIRST.index(pair[0][1]))]
    if parts:
        note(f"{config.source}: the part {parts[0]} is held out for validation")
        return TrainingPictures(train=train, held_out=replace(config, split=parts[0]).open(), name=parts[0])
    return hold_out(train, config.source)


def hold_out(source: Source, name: str) -> TrainingPictures:
    """Hold out a few pictures of a source: those whose keys have the smallest hashes.

    Raises:
        ValueError: when there are too few pictures for two parts.
    """
    total = len(source)
    count = min(max(LEAST, round(SHARE * total)), MOST, total // 2)
    if not count:
        raise ValueError(f"{name}: got {total} pictures, expected at least 2: one to train on, one held out")
    keys = source.keys()
    hashes = [hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys]
    chosen = set(sorted(range(total), key=hashes.__getitem__)[:count])
    rest = [place for place in range(total) if place not in chosen]
    note(f"{name}: {count} of {total:,} pictures are held out for validation, by the hash of their names")
    return TrainingPictures(
        train=SourceSubset(source, rest),
        held_out=SourceSubset(source, sorted(chosen)),
        name="held out",
        facts={"held_out": {"rule": "smallest hashes of keys", "count": count}},
    )


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
        relative = (
            "" if Path(config.source).is_absolute() else f", a relative path: it starts at {Path.cwd()}"
        )
        raise FileNotFoundError(
            f"{error} (data.source is {config.source}{relative}); run from the folder that holds the data, or "
            "set data.source (--data.source PATH)"
        ) from error
    note(f"{config.source}: the part {parts[0]} is trained on")
    return replace(config, split=parts[0]).open()


def _open_part(config: DataConfig) -> Source:
    try:
        return config.open()
    except SplitError as error:
        if len(error.splits) > 1 or any(
            part.startswith("train") or _JUDGES.match(part) for part in error.splits
        ):
            raise
    if config.split is not None:
        note(f"{config.source}: has no parts, so all of it is taken and not {config.split!r}")
    return replace(config, split=None).open(all_parts=True)
