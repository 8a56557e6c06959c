"""``textok completion SHELL``: a script that completes commands and options."""

from typing import Annotated, Literal

from tyro.conf import Positional, arg

from textok.cli.parsing import run_any


def completion(shell: Annotated[Positional[Literal["bash", "zsh", "tcsh"]], arg(metavar="SHELL")]) -> None:
    """Print a script that lets a shell complete commands and options.

    For bash: textok completion bash > ~/.local/share/bash-completion/completions/textok

    Args:
        shell: bash, zsh or tcsh.
    """
    run_any(["--tyro-print-completion", shell])
