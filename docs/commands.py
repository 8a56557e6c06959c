"""Write commands.md, the reference of the command line, from its help texts: python docs/commands.py."""

import contextlib
import io
import os
from pathlib import Path
from unittest import mock

from textok.cli import main
from textok.cli.table import COMMANDS

PAGE = Path(__file__).with_name("commands.md")
COLUMNS = 110
TOP = """# Commands

Written by `docs/commands.py` from what `textok COMMAND --help` prints; a test holds this page to it.

- **One thing has one name in every command.** Pictures are `--data` (or the first word of a command that turns
  them into something else), a tokenizer or generator is `--model`, cached latents are `--latents`, a budget is
  `--num-tokens`, several budgets are `--budgets`, and results go to `--out`.
- **A list is one word with commas**, as in `--budgets 2,8,32`; an item with a comma in it stands in double quotes.
  A pair is two words, as in `--size 64 128`.
- **Exit codes**: 0 done; 1 the reader of the output went away, as with `textok recipes | head -1`; 2 a mistake of
  the user, explained on stderr; 130 interrupted. A traceback is a bug: please report it.
- **Results are on stdout**, notes and progress bars on stderr. `--json` prints results for the next program.
  `TQDM_DISABLE=1` turns the bars off, and changes nothing else.
- **A shell completes commands and options** with the script that `textok completion bash` prints (also zsh, tcsh);
  for bash: `textok completion bash > ~/.local/share/bash-completion/completions/textok`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([TOP, *map(_section, COMMANDS)])


def _section(name: str) -> str:
    if COMMANDS[name].by_recipe:
        usage = f"`textok {name} RECIPE --out PATH`. Every value of the recipe is an option too:"
        return "\n".join(
            [
                f"## textok {name}",
                "",
                COMMANDS[name].help,
                usage,
                f"`textok {name} RECIPE --help` lists them.",
                "",
            ]
        )
    return "\n".join([f"## textok {name}", "", "```text", _help(name), "```", ""])


def _help(name: str) -> str:
    """What ``textok NAME --help`` prints in a terminal of so many columns."""
    text = io.StringIO()
    with mock.patch.dict(os.environ, COLUMNS=str(COLUMNS)), contextlib.redirect_stdout(text):
        main([*name.split(), "--help"])
    return "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
