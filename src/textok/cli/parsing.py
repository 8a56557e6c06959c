"""The words of the command line as arguments of a function, and ``textok completion``, by a parser of all commands.

A list is one word with commas, as in ``--budgets 2,8,32``, whatever the command; an item with a comma in it stands in
double quotes. A pair such as a height and width is two words, as in ``--size 64 128``.
"""

import csv
import io
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo
from tyro.extras import SubcommandApp

from textok.cli.table import COMMANDS, DESCRIPTION, groups, load
from textok.locking import writing_alone

_CONFIG = (
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.PositionalMetavarFromFieldName,
    tyro.conf.CascadeSubcommandArgs,  # so that --out may follow model.bottleneck:fsq-config
)
_LISTS = ConstructorRegistry()


@_LISTS.primitive_rule
def _lists(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Options of any number of values; positional words, and options that may come twice, stay as they are."""
    inner = get_args(info.type)
    is_list = info.type_origin is tuple and inner[1:] == (Ellipsis,)
    if not is_list or info.markers & {tyro.conf.Positional, tyro.conf.UseAppendAction}:
        return None
    if get_origin(inner[0]) is Literal:
        return _list_of(str, "{" + ",".join(get_args(inner[0])) + "}", allowed=get_args(inner[0]))
    if inner[0] not in (int, float, str):
        return None
    metavar = {int: "INT", float: "FLOAT", str: "NAME"}[inner[0]]
    return _list_of(inner[0], f"{metavar},{metavar}")


def _list_of(item: type, metavar: str, *, allowed: Sequence[str] = ()) -> PrimitiveConstructorSpec[Any]:
    def parse(words: list[str]) -> tuple[Any, ...]:
        items = [word.strip() for word in next(csv.reader(words, skipinitialspace=True))]
        if any(not word or (allowed and word not in allowed) for word in items):
            raise ValueError(f"got {words[0]!r}, expected items with commas between them, such as {metavar}")
        return tuple(item(word) for word in items)

    def show(items: Sequence[Any]) -> list[str]:
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(items)
        return [line.getvalue()]

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=parse,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=show,
    )


def run(function: Callable[..., Any], words: Sequence[str], *, prog: str) -> None:
    """Call the function of a command with the words of its command line; no other process writes its ``out`` then.

    Raises:
        SystemExit: after ``--help`` (0), and for words that do not fit (2).
        ValueError: when another process is writing there.
    """
    tyro.cli(writing_alone(function), args=words, prog=prog, config=_CONFIG, registry=_LISTS)


def completion(
    shell: Annotated[tyro.conf.Positional[Literal["bash", "zsh", "tcsh"]], tyro.conf.arg(metavar="SHELL")],
) -> None:
    """Print a script that lets a shell complete commands and options.

    For bash: textok completion bash > ~/.local/share/bash-completion/completions/textok

    Args:
        shell: bash, zsh or tcsh.
    """
    app = SubcommandApp()
    apps = {group: SubcommandApp() for group in groups()}
    for name, command in COMMANDS.items():
        group, _, own = name.rpartition(" ")
        apps.get(group, app).command(name=own, help=command.help)(load(name, []))
    for group, inner in apps.items():
        app.command(inner, name=group)
    words = ["--tyro-print-completion", shell]
    app.cli(args=words, prog="textok", description=DESCRIPTION, config=_CONFIG, registry=_LISTS)
