"""The table of commands: a new command is one module and one row here.

This module imports nothing of the package, so that ``textok --help`` answers at once. The module of a command is
imported only when that command runs, and may import what it needs at its top.
"""

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NamedTuple

DESCRIPTION = "Text-conditioned image tokenization: captioned pictures in, a few tokens each out, and back."
FOOTER = """First steps: textok demo; textok recipes; textok COMMAND --help. The version: textok --version.
Exit codes: 0 done; 1 the reader of the output, such as head, went away; 2 a mistake of the user, in one line
on stderr; 130 interrupted."""


class Command(NamedTuple):
    """Where a command is, and its line in ``textok --help``.

    It is a function of a module of ``textok.cli``, of the module's name where none is given; its arguments are the
    options. ``by_recipe`` says that the function makes the command, given the words of the command line, for its
    options are the values of the recipe that the first of them names.
    """

    module: str
    help: str
    function: str = ""
    by_recipe: bool = False


COMMANDS = {
    "demo": Command("demo", "Write a report that shows the tokenizer at work."),
    "app": Command("demo", "Open a page to play with.", "app"),
    "check": Command("check", "Report what is in captioned pictures."),
    "caption": Command("caption", "Write captions of pictures that have none."),
    "encode": Command("encode", "Encode pictures with their captions into a token file."),
    "decode": Command("decode", "Decode a token file to PNG pictures."),
    "compress": Command("encode", "The same as encode: .ttk files take a few dozen bytes a picture."),
    "decompress": Command("decode", "The same as decode."),
    "prior": Command("cache", "Measure how likely each token is, for textok compress.", "prior"),
    "reconstruct": Command("decode", "Lay pictures beside what their tokens give back.", "reconstruct"),
    "generate": Command("generate", "Make pictures from prompts or classes."),
    "scenes": Command("scenes", "Compose captioned pictures from drawings, as tars."),
    "cache": Command("cache", "Encode captioned pictures once, for textok train generator."),
    "fit": Command("fit", "Train on your own pictures, with everything chosen for you."),
    "train tokenizer": Command("train", "Train a tokenizer by a recipe.", "train_tokenizer", by_recipe=True),
    "train generator": Command("train", "Train a generator by a recipe.", "train_generator", by_recipe=True),
    "train predictor": Command("train", "Train the head that chooses budgets.", "train_budget_head"),
    "evaluate reconstruction": Command("evaluate_reconstruction", "Score reconstructions of a tokenizer."),
    "evaluate generation": Command("evaluate_generation", "Score generated pictures against real ones."),
    "evaluate generator": Command("evaluate_generation", "Draw and score pictures.", "evaluate_generator"),
    "evaluate compare": Command("evaluate_compare", "Lay two result files side by side."),
    "info": Command("info", "Describe a recipe, a model, a latent cache or a file of tokens."),
    "recipes": Command("info", "List the recipes: named configurations to train by.", "recipes"),
    "completion": Command("parsing", "Print the completion script of a shell.", "completion"),
}


def find(words: list[str]) -> tuple[str, list[str]]:
    """The name of the command that the words begin with, and the other words; ``ValueError`` suggests the nearest."""
    for count in (1, 2):
        if (name := " ".join(words[:count])) in COMMANDS:
            return name, words[count:]
    group = [name for name in COMMANDS if name.startswith(f"{words[0]} ")]
    wrong = " ".join(words[: 2 if group else 1])
    nearest = get_close_matches(wrong, group or COMMANDS, n=1)
    hint = f"did you mean {nearest[0]!r}" if nearest else "textok --help lists them"
    raise ValueError(f"command: got {wrong!r}, expected one of textok; {hint}")


def load(name: str, words: list[str]) -> Callable[..., Any]:
    """The function of a command; imports its module."""
    command = COMMANDS[name]
    function = getattr(import_module(f"textok.cli.{command.module}"), command.function or command.module)
    return function(words) if command.by_recipe else function


def overview(group: str = "") -> str:
    """The help text of ``textok``, or of the commands that begin with the word ``group``."""
    prefix = f"{group} " if group else ""
    rows = {name: command.help for name, command in COMMANDS.items() if name.startswith(prefix)}
    width = max(map(len, rows))
    lines = "\n".join(f"  {name:<{width}}  {text}" for name, text in rows.items())
    return f"usage: textok {prefix}COMMAND ...\n\n{DESCRIPTION}\n\n{lines}\n\n{FOOTER}"


def groups() -> set[str]:
    """The first words of the commands of two words."""
    return {name.split()[0] for name in COMMANDS if " " in name}
