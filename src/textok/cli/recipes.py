"""``textok recipes``, and the commands whose options are the values of a recipe."""

import inspect
import json as json_format
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from textok.display import note
from textok.recipes import GENERATOR_RECIPES, RECIPES
from textok.training.generator.config import GeneratorRun
from textok.training.run_folder import steps_of
from textok.training.tokenizer.config import TokenizerRun

Run = TypeVar("Run")
RunT = TypeVar("RunT", TokenizerRun, GeneratorRun)


def recipes(*, json: bool = False) -> None:
    """List the recipes: named configurations to train by.

    Args:
        json: print them as JSON.
    """
    kinds = {"tokenizer": RECIPES, "generator": GENERATOR_RECIPES}
    lines = {kind: {name: summary(recipe) for name, recipe in named.items()} for kind, named in kinds.items()}
    print(json_format.dumps(lines) if json else "\n\n".join(_listed(kind, lines[kind]) for kind in lines))


def _listed(kind: str, lines: Mapping[str, str]) -> str:
    width = max(map(len, lines))
    rows = [f"  {name:<{width}}  {line}" for name, line in lines.items()]
    return "\n".join([f"textok train {kind} RECIPE", *rows])


def find_recipe(name: str, recipes: Mapping[str, Callable[[], Run]]) -> Callable[[], Run]:
    """The recipe of that name.

    Raises:
        ValueError: when there is none; suggests the nearest.
    """
    if name not in recipes:
        raise ValueError(f"no recipe {name!r};{nearest(name, list(recipes))} textok recipes lists them")
    return recipes[name]


def with_recipe(
    command: Callable[..., None], words: list[str], recipes: Mapping[str, Callable[[], object]]
) -> Callable[..., None]:
    """A command whose argument ``run`` is by default the recipe that the first word names.

    Without a name it is the first recipe, which serves for ``--help``; the parser asks for the name.
    """
    name = words[0] if words and not words[0].startswith("-") else next(iter(recipes))
    return partial(command, run=find_recipe(name, recipes)())


def scaled(run: RunT, recipe: RunT) -> RunT:
    """A run shorter than its recipe: warm-up and the steps between validations shrink with it, which is said.

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


def print_weights(weights: Path, *, steps: int) -> None:
    """Print where the weights are.

    Raises:
        KeyboardInterrupt: when they have fewer steps: a script must not go on with those of a stopped run.
    """
    if steps_of(weights) < steps:
        raise KeyboardInterrupt
    print(weights)


def nearest(name: str, names: list[str]) -> str:
    """The words that suggest a known name, when one is near, else an empty string."""
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    return f" did you mean {close[0]!r}?" if close else ""


def summary(recipe: Callable[..., object]) -> str:
    """The first line of its docstring."""
    return (inspect.getdoc(recipe) or "").partition("\n")[0]
