"""``textok recipes``, and finding a recipe by its name."""

import inspect
import json as json_format
from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from textok.training.generator.config import GeneratorRun
    from textok.training.tokenizer.config import TokenizerRun


def recipes(*, json: bool = False) -> None:
    """List the recipes: named configurations to train by.

    Args:
        json: print them as JSON.
    """
    from textok.recipes import GENERATOR_RECIPES, RECIPES

    kinds = {"tokenizer": RECIPES, "generator": GENERATOR_RECIPES}
    lines = {kind: {name: summary(made) for name, made in known.items()} for kind, known in kinds.items()}
    if json:
        print(json_format.dumps(lines))
        return
    width = max(len(name) for found in lines.values() for name in found)
    parts = [
        "\n".join(
            [f"textok train {kind} RECIPE", *(f"  {name:<{width}}  {line}" for name, line in found.items())]
        )
        for kind, found in lines.items()
    ]
    print("\n\n".join(parts))


def find_recipe(name: str) -> "Callable[[], TokenizerRun]":
    """The tokenizer recipe of that name.

    Raises:
        ValueError: when there is none; suggests the nearest.
    """
    from textok.recipes import RECIPES

    return _found(name, RECIPES)


def find_generator_recipe(name: str) -> "Callable[[], GeneratorRun]":
    """The generator recipe of that name; raises as :func:`find_recipe`."""
    from textok.recipes import GENERATOR_RECIPES

    return _found(name, GENERATOR_RECIPES)


def _found(name: str, recipes: "dict[str, Callable[[], T]]") -> "Callable[[], T]":
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
