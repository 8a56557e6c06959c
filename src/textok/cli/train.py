"""``textok train tokenizer RECIPE``: the recipe's run configuration becomes the options."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

from textok.cli.recipes import find_recipe, summary


def tokenizer(recipe: Annotated[Positional[str], arg(metavar="RECIPE")], *, out: Path) -> None:
    """Train a tokenizer by a recipe; the same command resumes a run that was stopped.

    Each value of the recipe is an option: textok train tokenizer RECIPE --help shows them all.

    Args:
        recipe: its name comes first; textok recipes lists them.
        out: the run folder: configuration, metrics, pictures, checkpoints and weights.
    """
    train_tokenizer(recipe, ["--out", str(out)])


def train_tokenizer(recipe: str, options: Sequence[str]) -> None:
    """Train by a recipe with some of its values replaced.

    Args:
        recipe: a name that ``textok recipes`` lists.
        options: the words of the command line after the recipe.

    Raises:
        ValueError: for an unknown recipe, or values that do not fit together.
    """
    made = find_recipe(recipe)
    from textok.training import tokenizer as training
    from textok.training.tokenizer_run import TokenizerRun

    @dataclass(frozen=True, kw_only=True)
    class Command:
        out: Path
        """the run folder; when it exists, its training goes on"""
        run: Annotated[TokenizerRun, arg(name="")] = field(default_factory=made)

    command = tyro.cli(
        Command,
        args=options,
        prog=f"textok train tokenizer {recipe}",
        description=summary(made),
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.CascadeSubcommandArgs),
    )
    print(training.train_tokenizer(command.run, command.out))
