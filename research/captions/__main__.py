"""``python -m research.captions``: many trainings that differ in one thing, from one resumable command."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from research.captions.arms import icons_64_small
from research.captions.study import publish as publish_tables
from research.captions.study import study_captions
from research.command import ArmNames, check_documents, run
from textok.cli import checks
from textok.data import open_source
from textok.models.checkpoint import resolve
from textok.models.tokenizer import TexTok
from textok.recipes import RECIPES, find_recipe

Table = Literal["placement", "explanation", "bottleneck", "quality", "encoder", "budgets"]


def captions(
    *,
    out: Path,
    recipe: str = "icons-64",
    photos: str = "datasets/photos-256",
    tables: tuple[Table, ...] = ("placement", "explanation", "bottleneck", "quality", "encoder", "budgets"),
    seeds: tuple[int, ...] = (0, 1, 2),
    only: ArmNames = (),
    shipped: Annotated[str | None, arg(metavar="NAME")] = "icons-128",
    steps: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: the recipe's)")] = None,
    limit: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: all)")] = None,
    gather: bool = False,
    publish: Annotated[Path | None, arg(metavar="FILE.md")] = None,
    record: Annotated[Path | None, arg(metavar="FILE.json")] = None,
) -> None:
    """What captions are worth: trainings with text on both sides, one side, none, and more, put into tables.

    Run it again to go on where it was stopped; every arm is a normal run folder under OUT.

    Args:
        out: the folder of the study.
        recipe: what every arm is made of.
        photos: captioned photographs, for the test out of domain.
        tables: which tables, the most important first.
        seeds: of the arms with text on both sides and without text; the others take the first.
        only: train only these arms, so that several processes may share a study; such as both-seed0.
        shipped: a shipped model to test with failing captions beside the arms; "none" for no such model.
        steps: of every arm.
        limit: take so many pictures of a test set.
        gather: train nothing; score finished arms that are not yet, and make the tables of what is there.
        publish: a document whose marked tables are replaced, such as docs/reproduction.md.
        record: keep all rows there, such as benchmarks/results/study_captions.json: arms that it holds count as
            run, wherever that was, and stay in the tables; a published document links it.
    """
    checks.at_least(1, limit=limit, steps=steps)
    for seed in seeds:
        checks.seed(seed)
    checks.folders(out=out)
    check_documents(publish, record)
    shipped = None if shipped in (None, "none") else shipped
    if shipped is not None:
        resolve(shipped, shipped=TexTok.shipped)
    open_source(photos)
    base = find_recipe(recipe, RECIPES | {"icons-64-small": icons_64_small})()
    base = base if steps is None else replace(base, steps=steps)
    study_captions(
        base,
        out,
        photos=photos,
        tables=tables,
        seeds=seeds,
        only=[arm for arms in only for arm in arms],
        shipped=shipped,
        limit=limit,
        train=not gather,
        record=record,
    )
    if publish is not None:
        publish_tables(out, publish, recipe=base.name, record=record)
    print(out / "tables.md")


if __name__ == "__main__":
    sys.exit(run(captions, prog="research.captions"))
