"""All rows of a study in one file of a repository: arms that it holds count as run, wherever they were trained."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textok.evaluation.results import MAX_RESULT_BYTES, Result, Row, checked_row
from textok.training.tokenizer.config import TokenizerRun


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a study found so far.

    Attributes:
        arms: name of an arm -> its scores, without single pictures.
        failing_captions: name of a model -> its scores under captions that fail.
        intervals: rows of paired bootstraps, which need the single pictures and so are kept themselves.
    """

    arms: Mapping[str, Result] = field(default_factory=dict)
    failing_captions: Mapping[str, Result] = field(default_factory=dict)
    intervals: Sequence[Row] = ()


def read_record(path: Path, base: TokenizerRun) -> Record:
    """The record of a study; an empty one when there is no such file yet.

    Raises:
        ValueError: for another kind of file, or a study of another recipe or number of steps.
    """
    if not path.exists():
        return Record()
    if path.stat().st_size > MAX_RESULT_BYTES:
        raise ValueError(f"{path}: over the limit of {MAX_RESULT_BYTES:,} bytes for a record of a study")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        of = {name: found[name] for name in ("recipe", "steps")}
        record = Record(
            arms={name: _result(arm) for name, arm in found["arms"].items()},
            failing_captions={name: _result(model) for name, model in found["failing_captions"].items()},
            intervals=[dict(row) for row in found["intervals"]],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path}: not the record of a caption study ({type(error).__name__}: {error}); expected a file that "
            "--record has written, or a new name"
        ) from error
    if of != {"recipe": base.name, "steps": base.steps}:
        raise ValueError(
            f"{path}: holds a study of {of['recipe']}, {of['steps']} steps; expected {base.name}, {base.steps} "
            "steps: take another file for another study"
        )
    return record


def _result(found: Mapping[str, Any]) -> Result:
    return Result(
        settings=dict(found["settings"]),
        rows=[_row(row) for row in found["rows"]],
        made_by=dict(found.get("made_by", {})),
    )


def _row(found: Mapping[str, Any]) -> Row:
    for name in ("split", "captions", "budget", "count"):
        if name not in found:
            raise KeyError(name)
    return checked_row(found)


def as_json(
    record: Record, base: TokenizerRun, *, missing: Sequence[str], made_by: Mapping[str, Any]
) -> dict[str, Any]:
    """What :func:`read_record` reads.

    Args:
        record: to keep.
        base: the run that the arms are made of.
        missing: names of arms that are not run yet.
        made_by: command, versions and machine of this sitting; each arm names the code and processor of its own.
    """
    return {
        "recipe": base.name,
        "steps": base.steps,
        "made_by": dict(made_by),
        "not_run": list(missing),
        "arms": {name: _kept(result) for name, result in record.arms.items()},
        "failing_captions": {name: _kept(result) for name, result in record.failing_captions.items()},
        "intervals": list(record.intervals),
    }


def _kept(result: Result) -> dict[str, Any]:
    machine = result.made_by.get("machine", {})
    made = {"code": result.made_by.get("code"), "cpu": machine.get("cpu", result.made_by.get("cpu"))}
    return {
        "settings": result.settings,
        "made_by": {name: value for name, value in made.items() if value},
        "rows": result.rows,
    }
