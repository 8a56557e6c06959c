"""``python -m research.scenes``: the study of what dense captions save, from one resumable command."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from research.command import ArmNames, check_names, run
from research.judge.network import Judge
from research.scenes.arms import PICTURES, SceneArm, is_flow, scene_arms
from research.scenes.scoring import Testing, scores_of
from research.scenes.tables import tables
from research.scenes.testing import photo_test, scene_test
from research.scoring import is_finished
from textok.cli import checks
from textok.evaluation.results import Row
from textok.training.run_folder import environment
from textok.training.tokenizer.train import train_tokenizer
from textok.writing import write_json, write_text


def scenes(
    *,
    out: Path,
    pictures: int = PICTURES,
    seeds: tuple[int, ...] = (0, 1, 2),
    only: ArmNames = (),
    recipe: str = "scenes-64-flow",
    judge: Path = Path("research/judge/judge.safetensors"),
    photos: str = "datasets/photos-256",
    limit: int = 1000,
    budgets: tuple[int, ...] = (1, 2, 4, 8, 16, 32),
    gather: bool = False,
    record: Annotated[Path | None, arg(metavar="FILE.json")] = None,
) -> None:
    """What dense captions save on scenes: {none, both, names only} x {direct, flow}, by seed, put into tables.

    Run it again to go on where it was stopped; every arm is a normal run folder under OUT, so that arms trained
    elsewhere count when they are copied there.

    Args:
        out: the folder of the study.
        pictures: that each arm sees.
        seeds: of the trainings.
        only: train only these arms, such as both-flow-seed0.
        recipe: of the flow arms; its twin for the direct decoder makes the others.
        judge: file of the judge.
        photos: captioned photographs, for the test out of domain.
        limit: pictures of a test set.
        budgets: numbers of tokens that are scored.
        gather: train nothing; score the arms that are finished, and write the tables.
        record: keep all rows there, such as benchmarks/results/study_scenes.json.
    """
    checks.at_least(2, limit=limit)
    checks.at_least(1, pictures=pictures)
    for seed in seeds:
        checks.seed(seed)
    checks.folders(out=out)
    checks.files(record=record)
    arms = scene_arms(seeds=seeds, pictures=pictures, flow_recipe=recipe)
    chosen = [name for names in only for name in names]
    check_names("arm", chosen, [arm.name for arm in arms])
    testing = _testing(arms[0].run.model.image_size, judge, photos, limit, budgets)
    for arm in arms:
        if not gather and arm.name in (chosen or [arm.name]):
            train_tokenizer(arm.run, out / arm.name)
            if not is_finished(out / arm.name, steps=arm.run.steps):
                raise KeyboardInterrupt  # by the user: the same command goes on
    rows = {arm.name: _rows(arm, out, testing) for arm in arms if _is_done(arm, out)}
    _write(out, rows, [arm.name for arm in arms if arm.name not in rows], pictures=pictures, record=record)


def _testing(side: int, judge: Path, photos: str, limit: int, budgets: Sequence[int]) -> Testing:
    return Testing(
        sets=[
            *(scene_test(split, side=side, limit=limit) for split in ("test-drawing", "test-concept")),
            photo_test(photos, side=side, limit=limit),
        ],
        judge=Judge.load(judge),
        budgets=budgets,
    )


def _is_done(arm: SceneArm, out: Path) -> bool:
    return is_finished(out / arm.name, steps=arm.run.steps)


def _rows(arm: SceneArm, out: Path, testing: Testing) -> Sequence[Row]:
    scores = scores_of(out / arm.name, testing, name_only=arm.text == "both-name", samples=is_flow(arm.run))
    return scores.rows


def _write(
    out: Path, rows: dict[str, Sequence[Row]], missing: Sequence[str], *, pictures: int, record: Path | None
) -> None:
    write_text(out / "tables.md", tables(rows))
    content = {"made_by": environment(), "pictures": pictures, "not_run": list(missing), "arms": rows}
    for path in filter(None, (out / "results.json", record)):
        write_json(path, content)
    print(out / "tables.md")


if __name__ == "__main__":
    sys.exit(run(scenes, prog="research.scenes"))
