"""``textok train generator RECIPE``, whose options are the values of the recipe."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from textok.cli.recipes import print_weights, scaled, with_recipe
from textok.recipes import GENERATOR_RECIPES
from textok.training.generator import train
from textok.training.generator.config import GeneratorRun


def train_generator(words: list[str]) -> Callable[..., None]:
    """The command, with the values of the recipe that the first of the words names."""
    return with_recipe(_train_generator, words, GENERATOR_RECIPES)


def _train_generator(
    recipe: Annotated[Positional[str], arg(metavar="RECIPE")],
    run: Annotated[GeneratorRun, arg(name="")],
    *,
    out: Path,
    extend: bool = False,
) -> None:
    """Train a generator on cached latents by a recipe; the same command resumes a run that was stopped.

    Args:
        recipe: its name comes first; textok recipes lists them. Its values are the defaults of the options.
        out: the run folder: configuration, metrics, pictures, checkpoints and weights.
        extend: go on with the run in that folder for other steps, or by another optimizer or preview.
    """
    run = scaled(run, GENERATOR_RECIPES[recipe]())
    print_weights(train.train_generator(run, out, extend=extend), steps=run.steps)
