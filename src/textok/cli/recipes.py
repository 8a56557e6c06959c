"""``textok recipes``: named configurations to train by."""

import inspect
import json as json_format
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from textok.recipes import GENERATOR_RECIPES, RECIPES

Run = TypeVar("Run")


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


def nearest(name: str, names: list[str]) -> str:
    """The words that suggest a known name, when one is near, else an empty string."""
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    return f" did you mean {close[0]!r}?" if close else ""


def summary(recipe: Callable[..., object]) -> str:
    """The first line of its docstring."""
    return (inspect.getdoc(recipe) or "").partition("\n")[0]
