"""``textok recipes``, and finding a recipe by its name."""

import inspect
import json as json_format
from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textok.training.tokenizer import TokenizerRun


def recipes(*, json: bool = False) -> None:
    """List the recipes: named configurations to train by.

    Args:
        json: print them as JSON.
    """
    from textok.recipes import RECIPES

    lines = {name: summary(recipe) for name, recipe in RECIPES.items()}
    if json:
        print(json_format.dumps(lines))
        return
    width = max(map(len, lines))
    print("\n".join(f"{name:<{width}}  {line}" for name, line in lines.items()))


def find_recipe(name: str) -> "Callable[[], TokenizerRun]":
    """The recipe of that name.

    Raises:
        ValueError: when there is none; suggests the nearest.
    """
    from textok.recipes import RECIPES

    if name not in RECIPES:
        raise ValueError(f"no recipe {name!r};{nearest(name, list(RECIPES))} textok recipes lists them")
    return RECIPES[name]


def nearest(name: str, names: list[str]) -> str:
    """The words that suggest a known name, when one is near, else an empty string."""
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    return f" did you mean {close[0]!r}?" if close else ""


def summary(recipe: Callable[..., object]) -> str:
    """The first line of its docstring."""
    return (inspect.getdoc(recipe) or "").partition("\n")[0]
