"""Prompts as files with names and versions: ``prompts/NAME.vN.txt`` in the package, or a file of one's own."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

_FILE = re.compile(r"(?P<name>[a-z]+)\.v(?P<version>\d+)\.txt")
_KNOWN = "{known}"
MAX_KNOWN = 300
"""Characters of known words that a prompt takes."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What a model is asked.

    Attributes:
        name: with its version, such as "dense.v1"; for a file of one's own its name and the hash of its text.
        text: the words; a line with ``{known}`` takes the words that came with the picture.
    """

    name: str
    text: str

    def render(self, known: Sequence[str] = ()) -> str:
        """The prompt for one picture; without known words the line that would hold them is left out."""
        words = "; ".join(known).replace("\n", " ")[:MAX_KNOWN]
        lines = [line for line in self.text.splitlines() if words or _KNOWN not in line]
        return "\n".join(lines).replace(_KNOWN, words)

    @property
    def density(self) -> str:
        """The name without its version."""
        return self.name.partition(".")[0]


def shipped_prompts() -> dict[str, str]:
    """The texts of the prompts in the package by name with version, the versions in order."""
    folder = files("textok.captioning").joinpath("prompts")
    matches = [(_FILE.fullmatch(file.name), file) for file in folder.iterdir()]
    known = [(m["name"], int(m["version"]), file) for m, file in matches if m]
    return {f"{name}.v{version}": file.read_text("utf-8").strip() for name, version, file in sorted(known)}


def load_prompt(name: str) -> Prompt:
    """A prompt of the package by name ("dense": its newest version; "dense.v1"), or a text file.

    Raises:
        ValueError: when there is neither.
    """
    shipped = shipped_prompts()
    for full, text in reversed(shipped.items()):
        if name in (full, full.partition(".")[0]):
            return Prompt(name=full, text=text)
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"prompt: got {name!r}, expected a text file or one of {', '.join(shipped)}")
    text = path.read_text(encoding="utf-8").strip()
    if not text:
        raise ValueError(f"prompt: got the empty file {name}, expected what to ask of each picture")
    return Prompt(name=f"{path.stem}.{hashlib.sha256(text.encode()).hexdigest()[:8]}", text=text)
