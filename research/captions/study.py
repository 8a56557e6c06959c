"""The caption study: train every arm, score it, and write the tables; resumable at any moment.

One command runs all of it over as many sittings as it takes. Every arm is a normal run folder, so it can be
looked at, resumed and exported by itself.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from research.captions.arms import TABLES, Arm, placement_arms, study_arms
from research.captions.gains import interval_rows, with_kept
from research.captions.record import Record, as_json, read_record
from research.captions.report import NOT_RUN, sections
from research.captions.scored import Scored
from research.captions.scoring import Test, TestSet, scores_of
from research.command import check_names
from research.scoring import is_finished
from research.tables import fill
from textok.evaluation.results import Result
from textok.models.checkpoint import resolve
from textok.models.tokenizer import TexTok
from textok.training.run_folder import environment
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.train import train_tokenizer
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
    record: Path | None = None,
) -> Path:
    """Train and score the arms of the asked tables, then write ``tables.md`` and ``results.json``.

    The tables tell all arms that are finished in ``out`` or kept in ``record``, whatever tables were asked.

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
        record: a file with the rows of arms, also such as were run elsewhere: those count as finished, and are
            trained again only when ``only`` names them. It is written anew with what was found here.

    Returns:
        The folder.

    Raises:
        ValueError: for an unknown table or arm, or the record of another study.
        KeyboardInterrupt: when a training was asked to stop; the tables of what is there are written before.
    """
    out = Path(out)
    known = Record() if record is None else read_record(record, base)
    arms = chosen_arms(base, tables=tables, seeds=seeds)
    check_names("arm", only, [arm.name for arm in arms])
    test = Test(sets=test_sets(base, photos=photos), limit=limit)
    stopped = False
    for arm in arms:
        wanted = arm.name in only if only else arm.name not in known.arms
        if train and wanted and arm.trainable and not train_arm(arm, out, test):
            stopped = True  # by the user: the same command goes on
            break
    every = study_arms(base, seeds=seeds)
    fresh = [Scored(arm=arm, result=r) for arm in every if (r := finished(arm, out, test))]
    variants = {}
    if "quality" in tables:
        variants = variant_results(out, fresh, test, known=known, shipped=shipped)
    found = Record(
        arms={**known.arms, **{s.arm.name: s.result for s in fresh}},
        failing_captions={**known.failing_captions, **variants},
        intervals=with_kept(interval_rows(fresh), known.intervals),
    )
    write_findings(out, found, base, every, record=record)
    if stopped:
        raise KeyboardInterrupt
    return out


def write_findings(
    out: Path, found: Record, base: TokenizerRun, arms: Sequence[Arm], *, record: Path | None
) -> None:
    """The tables and all rows, in the study's folder and in its record."""
    scored = [Scored(arm=arm, result=found.arms[arm.name]) for arm in arms if arm.name in found.arms]
    missing = [arm.name for arm in arms if arm.name not in found.arms]
    told = sections(scored, found.failing_captions, bootstraps=found.intervals, missing=missing)
    write_text(out / "tables.md", "\n\n".join(f"## {name}\n\n{text}" for name, text in told.items()) + "\n")
    rows = as_json(found, base, missing=missing, made_by=environment())
    for path in (out / RESULTS, *([record] if record is not None else [])):
        write_json(path, rows)


def chosen_arms(base: TokenizerRun, *, tables: Sequence[str], seeds: Sequence[int]) -> list[Arm]:
    """The arms of the asked tables, and "both" and "none" of the first seed, which every table is read beside."""
    check_names("table", tables, TABLES)
    beside = [arm.name for arm in placement_arms(base, seeds=seeds[:1]) if arm.label in ("both", "none")]
    return [arm for arm in study_arms(base, seeds=seeds) if arm.table in tables or arm.name in beside]


def test_sets(base: TokenizerRun, *, photos: str) -> list[TestSet]:
    """New drawings of known things, unknown things, photographs."""
    own = [
        TestSet(name=name, source=base.data.source, split=name) for name in ("test-drawing", "test-concept")
    ]
    return [*own, TestSet(name="photos", source=photos)]


def train_arm(arm: Arm, out: Path, test: Test) -> bool:
    """Train one arm, or go on with it, and score it; False when it was asked to stop before its last step."""
    train_tokenizer(arm.run, out / arm.name)
    if not is_finished(out / arm.name, steps=arm.run.steps):
        return False
    scores_of(out / arm.name, test)
    return True


def finished(arm: Arm, out: Path, test: Test) -> Result | None:
    """The scores of a finished arm; None for one that is not."""
    folder = out / arm.name
    return scores_of(folder, test) if is_finished(folder, steps=arm.run.steps) else None


def variant_results(
    out: Path,
    scored: Sequence[Scored],
    test: Test,
    *,
    known: Record,
    shipped: str | None,
) -> dict[str, Result]:
    """Scores under failing captions: of the shipped model, and of arms trained with and without wrong ones.

    A shipped model that a record knows by the same weights is not scored again.
    """
    first = next((s.arm.name for s in scored if s.arm.label == "both"), None)
    folders = {
        s.arm.name: out / s.arm.name for s in scored if s.arm.name == first or s.arm.table == "quality"
    }
    found = {
        name: scores_of(folder, test, variants=True, name=VARIANT_SCORES) for name, folder in folders.items()
    }
    if shipped is not None:
        weights = resolve(shipped, shipped=TexTok.shipped)
        kept = known.failing_captions.get(shipped)
        if kept is None or kept.settings["model"] != TexTok.from_pretrained(weights).model_id:
            name = f"shipped-{shipped}.json"
            found[shipped] = scores_of(out, test, variants=True, name=name, weights=weights)
    return found


def publish(out: Path, document: Path, *, recipe: str, record: Path | None = None) -> None:
    """Put the tables of a study into a document that has their marks, and a link to its record of all rows.

    A mark names the table and the recipe, such as ``<!-- table placement of icons-64 -->``: a document shows
    what it has marks for, and keeps what it shows of tables that are not run here.

    Raises:
        ValueError: when the document has no mark of the recipe.
    """
    parts = (out / "tables.md").read_text(encoding="utf-8").split("## ")[1:]
    named = dict(part.split("\n\n", 1) for part in parts)
    found = {f"table {name.strip()} of {recipe}": text.strip() for name, text in named.items()}
    if record is not None:
        link = Path(os.path.relpath(record, document.parent)).as_posix()
        found[f"record of {recipe}"] = (
            f"All rows of all arms: [{record.name}]({link}), put there by the option `record`."
        )
    page = document.read_text(encoding="utf-8")
    marked = {name: text for name, text in found.items() if f"<!-- {name} -->" in page}
    if not marked:
        raise ValueError(
            f"{document}: has no marks of {recipe}; expected lines such as <!-- table placement of {recipe} --> "
            f"and <!-- end table placement of {recipe} -->"
        )
    fill(document, {name: text for name, text in marked.items() if text != NOT_RUN})
