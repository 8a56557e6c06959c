"""The command line of a study: options from a function's arguments, and one line for a mistake of the user."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import UseAppendAction, arg

from textok.cli import checks, parsing

ArmNames = Annotated[
    UseAppendAction[tuple[tuple[str, ...], ...]],
    arg(metavar="ARM [ARM ...]", help_behavior_hint="(default: all)"),
]


def run(function: Callable[..., Any], words: Sequence[str] | None = None, *, prog: str) -> int:
    """Call ``function`` with the options of the command line.

    Returns:
        The exit code: 0 done, 2 a mistake of the user, 130 interrupted: the same command goes on.
    """
    try:
        parsing.run(function, sys.argv[1:] if words is None else words, prog=prog)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"{prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return 130
    return 0


def check_documents(publish: Path | None, record: Path | None) -> None:
    """Check the files that the tables go into before the first training, not after the last.

    Raises:
        FileNotFoundError: when there is no document.
        ValueError: when the record cannot be written.
    """
    if publish is not None and not publish.is_file():
        raise FileNotFoundError(
            f"publish: {publish}: no such document; expected one with marks for the tables"
        )
    checks.files(record=record)


def check_names(kind: str, names: Sequence[str], expected: Sequence[str]) -> None:
    """Check that all names are among the expected ones.

    Raises:
        ValueError: names the others.
    """
    unknown = [name for name in names if name not in expected]
    if unknown:
        raise ValueError(f"{kind}s: got {', '.join(unknown)}; expected some of {', '.join(expected)}")
