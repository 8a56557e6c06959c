"""The command line: one module a command, and ``main``, which turns users' mistakes into one line.

No module here imports torch before its command runs, so that ``textok --help`` answers at once.
"""

import os
import sys
from collections.abc import Sequence

import tyro
from safetensors import SafetensorError
from tyro.extras import SubcommandApp

from textok import __version__
from textok.cli.cache import cache
from textok.cli.compress import compress, decompress
from textok.cli.demo import demo
from textok.cli.evaluate_compare import evaluate_compare
from textok.cli.evaluate_generation import evaluate_generation
from textok.cli.evaluate_generator import evaluate_generator
from textok.cli.evaluate_reconstruction import evaluate_reconstruction
from textok.cli.generate import generate
from textok.cli.info import info
from textok.cli.prior import prior
from textok.cli.recipes import recipes
from textok.cli.reconstruct import reconstruct
from textok.cli.study import captions, generation_study
from textok.cli.tokens import decode, encode
from textok.cli.train import alignment, generator, predictor, tokenizer, train_generator, train_tokenizer

DESCRIPTION = """Text-conditioned image tokenization: captioned pictures in, a few tokens each out, and back.

First steps: textok demo; textok recipes; textok COMMAND --help. textok --version tells the version."""

# Wrong values, missing files, a full disk, a diverged training. All else is a bug and shows its traceback.
TOLD_IN_A_LINE = (ValueError, OSError, FloatingPointError, SafetensorError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after ``textok``; those of the process when None.

    Returns:
        The exit code: 0 done, 2 the user's mistake (one line on stderr), 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader, such as head, has seen enough; nor is there more to write at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except TOLD_IN_A_LINE as error:
        print(f"textok: error: {_sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("textok: interrupted", file=sys.stderr)
        return 130
    except SystemExit as stop:  # tyro's way out after --help (0) and after a wrong option (2)
        return stop.code if isinstance(stop.code, int) else 1


def _sentence(error: Exception) -> str:
    """The message in one line; of an error of the system the file and what is wrong with it."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return " ".join(str(error).split())


def _run(words: list[str]) -> int:
    if words == ["--version"]:
        print(f"open-textok {__version__}")
        return 0
    if words[:1] == ["train"] and words[1:2] in (["tokenizer"], ["generator"]) and _names_recipe(words):
        train = train_tokenizer if words[1] == "tokenizer" else train_generator
        train(words[2], words[3:])
        return 0
    _app().cli(
        args=compare_words(words) or ["--help"],
        prog="textok",
        description=DESCRIPTION,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalMetavarFromFieldName),
    )
    return 0


def _names_recipe(words: list[str]) -> bool:
    return len(words) > 2 and not words[2].startswith("-")


def compare_words(words: list[str]) -> list[str]:
    """``evaluate [reconstruction|generation] --compare A B`` as ``evaluate compare A B``; others as they are."""
    if words[:1] != ["evaluate"] or "--compare" not in words:
        return words
    place = words.index("--compare")
    before = words[1:place]
    kind = before[:1] if before[:1] in (["reconstruction"], ["generation"]) else []
    return ["evaluate", "compare", *words[place + 1 :], *before[len(kind) :]]


def _app() -> SubcommandApp:
    app, train = SubcommandApp(), SubcommandApp()
    train.__doc__ = "Train a model by a recipe; the same command resumes."
    train.command(tokenizer)
    train.command(generator)
    train.command(alignment)
    train.command(predictor)
    app.command(demo)
    app.command(encode)
    app.command(decode)
    app.command(compress)
    app.command(decompress)
    app.command(prior)
    app.command(reconstruct)
    app.command(generate)
    app.command(cache)
    app.command(train, name="train")
    study = SubcommandApp()
    study.__doc__ = "Compare trainings that differ in one thing."
    study.command(captions)
    study.command(name="generation")(generation_study)
    app.command(study, name="study")
    evaluate = SubcommandApp()
    evaluate.__doc__ = "Score a tokenizer or generated pictures, and compare results."
    evaluate.command(name="reconstruction")(evaluate_reconstruction)
    evaluate.command(name="generation")(evaluate_generation)
    evaluate.command(name="generator")(evaluate_generator)
    evaluate.command(name="compare")(evaluate_compare)
    app.command(evaluate, name="evaluate")
    app.command(info)
    app.command(recipes)
    return app
