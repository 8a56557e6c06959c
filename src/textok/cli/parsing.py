"""The words of the command line as arguments of a function, and the parser of all commands together."""

from collections.abc import Callable, Sequence
from typing import Any

import tyro
from tyro.extras import SubcommandApp

from textok.cli.table import COMMANDS, DESCRIPTION, groups, load

_CONFIG = (
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.PositionalMetavarFromFieldName,
    tyro.conf.CascadeSubcommandArgs,  # so that --out may follow model.bottleneck:fsq-config
)


def run(function: Callable[..., Any], words: Sequence[str], *, prog: str) -> None:
    """Call the function of a command with the words of its command line.

    Raises:
        SystemExit: after ``--help`` (0), and for words that do not fit (2).
    """
    tyro.cli(function, args=words, prog=prog, config=_CONFIG)


def run_any(words: Sequence[str]) -> None:
    """As :func:`run`, by one parser of all commands, whose modules are all imported: for a shell's completion."""
    app = SubcommandApp()
    apps = {group: SubcommandApp() for group in groups()}
    for name, command in COMMANDS.items():
        group, _, own = name.rpartition(" ")
        apps.get(group, app).command(name=own, help=command.help)(load(name, []))
    for group, inner in apps.items():
        app.command(inner, name=group)
    app.cli(args=words, prog="textok", description=DESCRIPTION, config=_CONFIG)
