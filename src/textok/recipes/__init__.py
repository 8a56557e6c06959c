"""Named runs: each function returns one whole configuration; variants are small changes of another.

A recipe is chosen by name: ``textok train tokenizer icons-128 --out RUN``; its fields can be overridden.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from textok.recipes.generators import GENERATOR_RECIPES
from textok.recipes.tokenizers import RECIPES

__all__ = ["GENERATOR_RECIPES", "RECIPES", "find_recipe", "nearest", "summary"]

Run = TypeVar("Run")


def find_recipe(name: str, recipes: Mapping[str, Callable[[], Run]]) -> Callable[[], Run]:
    """The recipe of that name; ``ValueError`` when there is none; suggests the nearest."""
    if name not in recipes:
        raise ValueError(f"no recipe {name!r};{nearest(name, recipes)} textok recipes lists them")
    return recipes[name]


def nearest(name: str, names: Iterable[str]) -> str:
    """The words that suggest a known name, when one is near, else an empty string."""
    close = get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" did you mean {close[0]!r}?" if close else ""


def summary(recipe: Callable[..., object]) -> str:
    """The first line of its docstring."""
    return (inspect.getdoc(recipe) or "").partition("\n")[0]
