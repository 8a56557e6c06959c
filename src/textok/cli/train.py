"""``textok train tokenizer|generator RECIPE``, whose options are the recipe's values, and the small heads."""

import json as json_format
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from textok.cli.recipes import find_generator_recipe, find_recipe, summary


def tokenizer(recipe: Annotated[Positional[str], arg(metavar="RECIPE")], *, out: Path) -> None:
    """Train a tokenizer by a recipe; the same command resumes a run that was stopped.

    Each value of the recipe is an option: textok train tokenizer RECIPE --help shows them all.

    Args:
        recipe: its name comes first; textok recipes lists them.
        out: the run folder: configuration, metrics, pictures, checkpoints and weights.
    """
    train_tokenizer(recipe, ["--out", str(out)])


def generator(recipe: Annotated[Positional[str], arg(metavar="RECIPE")], *, data: str, out: Path) -> None:
    """Train a generator on cached latents by a recipe; the same command resumes a run that was stopped.

    Each value of the recipe is an option: textok train generator RECIPE --help shows them all.

    Args:
        recipe: its name comes first; textok recipes lists them.
        data: a folder that textok cache wrote.
        out: the run folder: configuration, metrics, pictures, checkpoints and weights.
    """
    train_generator(recipe, ["--data", data, "--out", str(out)])


def train_tokenizer(recipe: str, options: Sequence[str]) -> None:
    """Train by a recipe with some of its values replaced.

    Args:
        recipe: a name that ``textok recipes`` lists.
        options: the words of the command line after the recipe.

    Raises:
        ValueError: for an unknown recipe, or values that do not fit together.
        KeyboardInterrupt: when the training was asked to stop before its last step.
    """
    made = find_recipe(recipe)
    from textok.training.tokenizer.config import TokenizerRun
    from textok.training.tokenizer.train import train_tokenizer as train

    @dataclass(frozen=True, kw_only=True)
    class Command:
        out: Path
        """the run folder; when it exists, its training goes on"""
        run: Annotated[TokenizerRun, arg(name="")] = field(default_factory=made)

    command = _parsed(Command, options, kind="tokenizer", recipe=recipe, made=made)
    _told(train(command.run, command.out), steps=command.run.steps)


def train_generator(recipe: str, options: Sequence[str]) -> None:
    """Train a generator by a recipe with some of its values replaced; as :func:`train_tokenizer`."""
    made = find_generator_recipe(recipe)
    from textok.training.generator.config import GeneratorRun
    from textok.training.generator.train import train_generator as train

    @dataclass(frozen=True, kw_only=True)
    class Command:
        out: Path
        """the run folder; when it exists, its training goes on"""
        run: Annotated[GeneratorRun, arg(name="")] = field(default_factory=made)

    command = _parsed(Command, options, kind="generator", recipe=recipe, made=made)
    _told(train(command.run, command.out), steps=command.run.steps)


def _parsed(
    form: type, options: Sequence[str], *, kind: str, recipe: str, made: Callable[..., object]
) -> Any:
    return tyro.cli(
        form,
        args=options,
        prog=f"textok train {kind} {recipe}",
        description=summary(made),
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.CascadeSubcommandArgs),
    )


def _told(weights: Path, *, steps: int) -> None:
    """Print where the weights are; a script must not go on with those of a run that was asked to stop."""
    from textok.training.run_folder import steps_of

    if steps_of(weights) < steps:
        raise KeyboardInterrupt
    print(weights)


def alignment(
    *,
    out: Path,
    source: str = "datasets/icons-128",
    split: Annotated[str | None, arg(metavar="NAME")] = "train",
    scored: Annotated[tuple[str, ...], arg(metavar="NAME [NAME ...]")] = (
        "val",
        "test-drawing",
        "test-concept",
    ),
    limit: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: all)")] = None,
    steps: int = 800,
    batch_size: int = 512,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Train the two-tower head, which says how well a caption fits a picture; minutes on a CPU.

    Args:
        out: the folder for the head; Semantics.from_pretrained(OUT) judges with it.
        source: captioned pictures.
        split: the part to train on.
        scored: parts to score caption retrieval on, after the training.
        limit: read only so many pictures of each part, from the first.
        steps: training steps.
        batch_size: pictures a step.
        seed: of every random choice.
        json: print the scores as JSON.
    """
    from textok.training.heads.alignment import AlignmentRun, train_alignment

    run = AlignmentRun(
        source=source,
        split=split,
        scored=scored,
        limit=limit,
        steps=steps,
        batch_size=batch_size,
        seed=seed,
    )
    rows = train_alignment(run, out)
    lines = [
        f"  {row['split']:<13} {row['size']:>4} px  {row['r1']:6.1%} first, {row['r5']:6.1%} among the first 5, "
        f"of {row['captions']} captions"
        for row in rows
    ]
    table = "\n".join([f"{out}: two-tower head; pictures whose own caption is found", *lines])
    print(json_format.dumps(rows) if json else table)


def predictor(
    *,
    out: Path,
    model: str = "icons-128",
    data: str = "datasets/icons-128",
    split: Annotated[str | None, arg(metavar="NAME")] = "train",
    held_out: Annotated[str | None, arg(metavar="NAME")] = "val",
    scored: Annotated[str | None, arg(metavar="NAME")] = "test-drawing",
    limit: int = 2000,
    looks: int = 8,
    measure: Literal["psnr", "perceptual"] = "psnr",
    steps: int = 800,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Train the head that chooses soft budgets without decoding; minutes on a CPU.

    Args:
        out: the folder for the head.
        model: the tokenizer it is for: a shipped name, a folder or a hub id.
        data: captioned pictures.
        split: the part to train on; None takes all.
        held_out: the part, not among the tokenizer's training pictures, to correct the head by; None corrects nothing.
        scored: the part to score the head on; None scores none.
        limit: read only so many pictures of each part, from the first.
        looks: budgets that each picture is decoded at.
        measure: the quality to tell.
        steps: training steps.
        seed: of every random choice.
        json: print the scores as JSON.
    """
    from textok.training.heads.quality_predictor import PredictorRun, train_predictor

    run = PredictorRun(
        model=model,
        data=data,
        split=split,
        held_out=held_out,
        scored=scored,
        limit=limit,
        looks=looks,
        measure=measure,
        steps=steps,
        seed=seed,
    )
    scores = train_predictor(run, out)
    lines = [f"{out}: quality predictor for {model}"]
    if scores:
        unit, before = "dB" if measure == "psnr" else "of distance", scores["uncorrected"]
        lines.append(
            f"  {scores['pictures']} pictures of {scored}: mean error {scores['bias']:+.3g} {unit} (before correction "
            f"{before['bias']:+.3g}), root mean square {scores['rmse']:.3g} ({before['rmse']:.3g}), "
            f"{scores['explained']:.0%} of the variance explained"
        )
    print(json_format.dumps(scores) if json else "\n".join(lines))
