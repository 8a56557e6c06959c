"""What a command prints on stdout: lines for a person, or JSON for the next program."""

import json as json_format
from typing import Any

from textok.display import printable
from textok.writing import finite


def report(facts: Any, *lines: str, json: bool) -> None:
    """Print lines in which no name or caption can command the terminal; or the facts, with ``json``."""
    print(json_format.dumps(finite(facts)) if json else "\n".join(map(printable, lines)))
