"""``textok train``: a tokenizer or a generator by a recipe, and the head that chooses budgets."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from tyro.conf import Positional, arg

from textok.cli import checks
from textok.cli.distributed import is_first, leave_group
from textok.cli.options import Json, optional
from textok.cli.output import report
from textok.display import note
from textok.recipes import GENERATOR_RECIPES, RECIPES, find_recipe
from textok.training.generator import train as generator
from textok.training.generator.config import GeneratorRun
from textok.training.quality_predictor import PredictorRun, train_predictor
from textok.training.rehearsal import profiled, rehearse
from textok.training.run_folder import steps_of
from textok.training.tokenizer import train as tokenizer
from textok.training.tokenizer.config import TokenizerRun

_RECIPE_HELP = "its name comes first; textok recipes lists them. Its values are the defaults of the options"
Recipe = Annotated[Positional[str], arg(metavar="RECIPE", help=_RECIPE_HELP)]
RunT = TypeVar("RunT", TokenizerRun, GeneratorRun)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a training goes, and how much of it is done now."""

    out: Path
    """the run folder: configuration, metrics, pictures, checkpoints and weights"""
    hours: Annotated[float | None, optional("H")] = None
    """stop after so many hours, with the weights that there are then; the same command goes on"""
    extend: bool = False
    """go on with the run in that folder for other steps, or by another words_first, optimizer, validation or preview"""
    accept_changes: bool = False
    """go on with the run in that folder although pictures, captions or latents changed, which is named without it"""
    rehearse: bool = False
    """run a few full-size steps of every phase here, print what the whole would take, and leave nothing"""
    profile: int | None = None
    """record this many steps by torch's profiler, as trace and table in OUT/profile"""
    json: Json = False

    def train(self, run: RunT, recipe: RunT, train: Callable[..., Path]) -> None:
        """Train a run that was made from a recipe."""
        if self.rehearse:
            made = rehearse(run, self.out, train)
            leave_group()
            if is_first():
                report(vars(made), *made.lines(run), json=self.json)
            return
        run, began = _scaled(run, recipe), time.monotonic()
        options = {"hours": self.hours, "extend": self.extend, "accept_changes": self.accept_changes}
        with nullcontext() if self.profile is None else profiled(self.out / "profile", steps=self.profile):
            weights = train(run, self.out, **options)
        leave_group()
        in_time = self.hours is None or time.monotonic() < began + 3600 * self.hours
        if in_time and steps_of(weights) < run.steps:
            raise KeyboardInterrupt  # a script must not go on with those of a run that was stopped
        report({"weights": str(weights)}, str(weights), json=self.json)


def _train_tokenizer(
    recipe: Recipe, run: Annotated[TokenizerRun, arg(name="")], options: Annotated[RunOptions, arg(name="")]
) -> None:
    """Train a tokenizer by a recipe; the same command resumes a run that was stopped."""
    options.train(run, RECIPES[recipe](), tokenizer.train_tokenizer)


def _train_generator(
    recipe: Recipe, run: Annotated[GeneratorRun, arg(name="")], options: Annotated[RunOptions, arg(name="")]
) -> None:
    """Train a generator on cached latents by a recipe; the same command resumes a run that was stopped."""
    options.train(run, GENERATOR_RECIPES[recipe](), generator.train_generator)


def train_budget_head(run: Annotated[PredictorRun, arg(name="")], *, out: Path, json: Json = False) -> None:
    """Train the head that chooses soft budgets without decoding; minutes on a CPU.

    Args:
        out: the folder for the head.
    """
    checks.seed(run.seed)
    checks.folders(out=out)
    scores = train_predictor(run, out)
    lines = [_predictor_line(scores, run)] if scores else []
    report(scores, f"{out}: quality predictor for {run.model}", *lines, json=json)


def _with_recipe(
    command: Callable[..., None], recipes: Mapping[str, Callable[[], object]], words: list[str]
) -> Callable[..., None]:
    """A command whose argument ``run`` is by default the recipe that the first word names; for ``--help`` the first."""
    name = words[0] if words and not words[0].startswith("-") else next(iter(recipes))
    return partial(command, run=find_recipe(name, recipes)())


train_tokenizer = partial(_with_recipe, _train_tokenizer, RECIPES)
train_generator = partial(_with_recipe, _train_generator, GENERATOR_RECIPES)


def _scaled(run: RunT, recipe: RunT) -> RunT:
    """A run shorter than its recipe: warm-up and the steps between validations shrink with it, which is printed.

    Values that differ from those of the recipe are somebody's choice and stay.
    """
    share = run.steps / recipe.steps
    if share >= 1:
        return run
    judge = "validation" if hasattr(run, "validation") else "preview"
    every, warmup = getattr(run, judge).every, run.optimizer.warmup_steps
    changes: dict[str, Any] = {}
    if every == getattr(recipe, judge).every and every > 1:
        changes[judge] = replace(getattr(run, judge), every=max(1, round(every * share)))
    if warmup == recipe.optimizer.warmup_steps and warmup > 1:
        changes["optimizer"] = replace(run.optimizer, warmup_steps=max(1, round(warmup * share)))
    run = replace(run, **changes)
    note(
        f"steps: {run.steps} instead of {recipe.steps}; warm-up takes {run.optimizer.warmup_steps} of them, "
        f"{judge} comes every {getattr(run, judge).every}"
    )
    return run


def _predictor_line(scores: dict[str, Any], run: PredictorRun) -> str:
    unit, before = "dB" if run.measure == "psnr" else "of distance", scores["uncorrected"]
    return (
        f"  {scores['pictures']} pictures of {run.scored}: mean error {scores['bias']:+.3g} {unit} (before "
        f"correction {before['bias']:+.3g}), root mean square {scores['rmse']:.3g} ({before['rmse']:.3g}), "
        f"{scores['explained']:.0%} of the variance explained"
    )
