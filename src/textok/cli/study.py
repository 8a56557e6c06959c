"""``textok study captions``: many trainings that differ in one thing, from one resumable command."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import UseAppendAction, arg

from textok.cli.checks import check_at_least, check_files, check_folders, check_seeds
from textok.cli.recipes import find_recipe
from textok.recipes import GENERATOR_RECIPES, RECIPES

ArmNames = Annotated[
    UseAppendAction[tuple[tuple[str, ...], ...]],
    arg(metavar="ARM [ARM ...]", help_behavior_hint="(default: all)"),
]
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
    """What captions are worth: trainings with text on both sides, one side, none, and more, told in tables.

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
    from dataclasses import replace

    from textok.data import open_source
    from textok.models.checkpoint import resolve
    from textok.models.tokenizer import TexTok
    from textok.study.captions import publish as publish_tables
    from textok.study.captions import study_captions

    check_at_least(1, limit=limit, steps=steps)
    check_seeds("seeds", seeds)
    check_folders(out=out)
    _check_documents(publish, record)
    shipped = None if shipped in (None, "none") else shipped
    if shipped is not None:
        resolve(shipped, shipped=TexTok.shipped)
    open_source(photos)
    base = find_recipe(recipe, RECIPES)()
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


def generation_study(
    *,
    tokenizers: Annotated[tuple[str, ...], arg(metavar="NAME=FOLDER")],
    out: Path,
    recipe: str = "icons-64-dit",
    data: str = "datasets/icons-128",
    only: ArmNames = (),
    limit: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: all)")] = None,
    gather: bool = False,
    publish: Annotated[Path | None, arg(metavar="FILE.md")] = None,
    record: Annotated[Path | None, arg(metavar="FILE.json")] = None,
) -> None:
    """Whether captions in the tokenizer help generation: the same generator on the tokens of several tokenizers.

    The first tokenizer also gets generators of a single budget, to see what serving all budgets costs. Run it again
    to go on where it was stopped; every arm is a normal run folder under OUT.

    Args:
        tokenizers: names and weights, such as both=RUN/weights none=RUN/weights; gains are of the first over the
            second, and a discrete one gets a MaskGIT of the same width and depth.
        out: the folder of the study.
        recipe: what every generator is made of.
        data: captioned pictures with the parts train, val and test-drawing.
        only: train only these arms, such as generator-both.
        limit: take so many pictures of each part.
        gather: train nothing; score finished arms that are not yet, and make the table of what is there.
        publish: a document whose marked table is replaced, such as docs/generation.md.
        record: keep all rows there too, such as benchmarks/results/study_generation.json.
    """
    from textok.evaluation.metrics.paired import MIN_FRECHET
    from textok.study.generation import RESULTS, GenerationSetting, study_generation
    from textok.study.tables import fill
    from textok.writing import write_text

    check_at_least(MIN_FRECHET, limit=limit)
    check_folders(out=out)
    _check_documents(publish, record)
    named = dict(_named(one) for one in tokenizers)
    if len(named) < len(tokenizers):
        raise ValueError(f"tokenizers: got {' '.join(tokenizers)}; expected a name only once")
    setting = GenerationSetting(data=data, limit=limit)
    base = find_recipe(recipe, GENERATOR_RECIPES)()
    arms = [arm for group in only for arm in group]
    study_generation(base, named, out, setting=setting, only=arms, train=not gather)
    if record is not None:
        write_text(record, (out / RESULTS).read_text(encoding="utf-8"))
    if publish is not None:
        fill(publish, {"study": (out / "tables.md").read_text(encoding="utf-8").strip()})
    print(out / "tables.md")


def _check_documents(publish: Path | None, record: Path | None) -> None:
    """That what the tables go into is there: it would be found out after the last training."""
    if publish is not None and not publish.is_file():
        raise FileNotFoundError(
            f"publish: {publish}: no such document; expected one with marks for the tables"
        )
    check_files(record=record)


def _named(word: str) -> tuple[str, str]:
    name, equals, folder = word.partition("=")
    if not name.isidentifier() or not equals or not folder:
        raise ValueError(
            f"tokenizers: got {word!r}; expected NAME=FOLDER, such as both=runs-out/both/weights"
        )
    return name, folder
