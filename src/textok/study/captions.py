"""The caption study: train every arm, score it, and write the tables; resumable at any moment.

One command runs all of it over as many sittings as it takes. Every arm is a normal run folder, so it can be
looked at, resumed and exported by itself.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textok.evaluation.results import Result
from textok.models.checkpoint import resolve
from textok.models.tokenizer import TexTok
from textok.study.arms import TABLES, Arm, study_arms
from textok.study.caption_report import Scored, sections
from textok.study.scoring import TestSet, scores_of
from textok.study.tables import fill
from textok.training.run_folder import environment, steps_of
from textok.training.tokenizer import train_tokenizer
from textok.training.tokenizer_run import TokenizerRun
from textok.writing import write_json, write_text

VARIANT_SCORES = "scores-variants.json"
RESULTS = "results.json"


def study_captions(
    base: TokenizerRun,
    out: str | Path,
    *,
    photos: str,
    tables: Sequence[str] = TABLES,
    seeds: Sequence[int] = (0, 1, 2),
    only: Sequence[str] = (),
    shipped: str | None = None,
    limit: int | None = None,
    train: bool = True,
) -> Path:
    """Train and score the arms of the asked tables, then write ``tables.md`` and ``results.json``.

    Args:
        base: the run that all arms are made of.
        out: folder of the study; arms that are finished there are not trained again.
        photos: source of the photographs of the out-of-domain test.
        tables: which, in order.
        seeds: of the arms "both" and "none".
        only: names of the arms to train in this call (several processes may share a study so); all by default.
        shipped: a shipped model for the table of failing captions.
        limit: pictures of a test set, at most.
        train: False trains nothing; finished arms are scored if they are not yet.

    Returns:
        The folder.

    Raises:
        ValueError: for an unknown table or arm.
        KeyboardInterrupt: when a training was asked to stop; the tables of what is there are written before.
    """
    out = Path(out)
    arms = chosen_arms(base, tables=tables, seeds=seeds)
    _check_known("arm", only, [arm.name for arm in arms])
    sets = test_sets(base, photos=photos)
    stopped = False
    for arm in arms:
        if train and (not only or arm.name in only) and not train_arm(arm, out, sets, limit=limit):
            stopped = True  # by the user: the same command goes on
            break
    scored = [
        Scored(arm=arm, result=found) for arm in arms if (found := finished(arm, out, sets, limit=limit))
    ]
    variants = {}
    if "quality" in tables:
        variants = variant_results(out, scored, sets, shipped=shipped, limit=limit)
    missing = [arm.name for arm in study_arms(base, seeds=seeds) if not is_finished(arm, out)]  # of any table
    found = sections(scored, variants, missing=missing)
    write_text(out / "tables.md", "\n\n".join(f"## {name}\n\n{text}" for name, text in found.items()) + "\n")
    write_json(out / RESULTS, all_rows(scored, variants, missing=missing))
    if stopped:
        raise KeyboardInterrupt
    return out


def chosen_arms(base: TokenizerRun, *, tables: Sequence[str], seeds: Sequence[int]) -> list[Arm]:
    """The arms of the asked tables; every table but the first is read beside arms of the first."""
    _check_known("table", tables, TABLES)
    return [arm for arm in study_arms(base, seeds=seeds) if arm.table in tables or arm.table == "placement"]


def test_sets(base: TokenizerRun, *, photos: str) -> list[TestSet]:
    """New drawings of known things, unknown things, photographs."""
    own = [
        TestSet(name=name, source=base.data.source, split=name) for name in ("test-drawing", "test-concept")
    ]
    return [*own, TestSet(name="photos", source=photos)]


def train_arm(arm: Arm, out: Path, sets: Sequence[TestSet], *, limit: int | None) -> bool:
    """Train one arm, or go on with it, and score it; False when it was asked to stop before its last step."""
    train_tokenizer(arm.run, out / arm.name)
    if not is_finished(arm, out):
        return False
    scores_of(out / arm.name, sets, limit=limit)
    return True


def is_finished(arm: Arm, out: Path) -> bool:
    """Whether the arm's weights come from its last step."""
    return steps_of(out / arm.name / "weights") == arm.run.steps


def finished(arm: Arm, out: Path, sets: Sequence[TestSet], *, limit: int | None) -> Result | None:
    """The scores of a finished arm; None for one that is not."""
    return scores_of(out / arm.name, sets, limit=limit) if is_finished(arm, out) else None


def variant_results(
    out: Path,
    scored: Sequence[Scored],
    sets: Sequence[TestSet],
    *,
    shipped: str | None,
    limit: int | None,
) -> dict[str, Result]:
    """Scores under failing captions: of the shipped model, and of arms trained with and without wrong ones."""
    first = next((s.arm.name for s in scored if s.arm.label == "both"), None)
    folders = {
        s.arm.name: out / s.arm.name for s in scored if s.arm.name == first or s.arm.table == "quality"
    }
    found = {
        name: scores_of(folder, sets, variants=True, name=VARIANT_SCORES, limit=limit)
        for name, folder in folders.items()
    }
    if shipped is not None:
        name = f"shipped-{shipped}.json"
        weights = resolve(shipped, shipped=TexTok.shipped)
        found[shipped] = scores_of(out, sets, variants=True, name=name, limit=limit, weights=weights)
    return found


def all_rows(
    scored: Sequence[Scored], variants: dict[str, Result], *, missing: Sequence[str]
) -> dict[str, Any]:
    """All rows of all arms, for the repository: no single pictures."""
    arms = {
        s.arm.name: {"seed": s.arm.seed, "settings": s.result.settings, "rows": s.result.rows} for s in scored
    }
    failing = {name: {"settings": r.settings, "rows": r.rows} for name, r in variants.items()}
    return {"made_by": environment(), "not_run": list(missing), "arms": arms, "failing_captions": failing}


def publish(out: Path, document: Path, *, record: Path | None = None) -> None:
    """Put the tables of a study into a document that has their marks, and a link to its record of all rows."""
    parts = (out / "tables.md").read_text(encoding="utf-8").split("## ")[1:]
    named = dict(part.split("\n\n", 1) for part in parts)
    found = {f"table {name.strip()}": text.strip() for name, text in named.items()}
    if record is not None:
        link = Path(os.path.relpath(record, document.parent)).as_posix()
        found["record"] = f"All rows of all arms: [{record.name}]({link}), put there by the option `record`."
    fill(document, found)


def copy_record(out: Path, record: Path) -> None:
    """Put a study's ``results.json``, all its rows, at another place, such as in a repository."""
    write_text(record, (out / RESULTS).read_text(encoding="utf-8"))


def _check_known(kind: str, asked: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise ValueError(f"{kind}s: got {', '.join(unknown)}; expected some of {', '.join(known)}")
