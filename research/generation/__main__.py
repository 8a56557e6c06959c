"""``python -m research.generation``: the same generator on the tokens of several tokenizers."""

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from research.command import ArmNames, check_documents, run
from research.generation.study import RESULTS, GenerationSetting, study_generation
from research.tables import fill
from textok.cli import checks
from textok.evaluation.metrics.paired import MIN_FRECHET
from textok.recipes import GENERATOR_RECIPES, find_recipe
from textok.writing import write_text


def generation(
    *,
    tokenizers: Annotated[tuple[str, ...], arg(metavar="NAME=FOLDER")],
    out: Path,
    recipe: str = "icons-64-dit",
    data: str = "icons",
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
        tokenizers: names and weights, such as both=RUN/weights,none=RUN/weights; gains are of the first over the
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
    checks.at_least(MIN_FRECHET, limit=limit)
    checks.folders(out=out)
    check_documents(publish, record)
    named = dict(_name_and_folder(one) for one in tokenizers)
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


def _name_and_folder(word: str) -> tuple[str, str]:
    name, equals, folder = word.partition("=")
    if not name.isidentifier() or not equals or not folder:
        raise ValueError(
            f"tokenizers: got {word!r}; expected NAME=FOLDER, such as both=runs-out/both/weights"
        )
    return name, folder


if __name__ == "__main__":
    sys.exit(run(generation, prog="research.generation"))
