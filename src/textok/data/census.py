"""What a source holds: what is read, and what is passed over and why."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from textok.display import note

_SHOWN = 3
_announced: set[str] = set()


@dataclass(kw_only=True)
class Census:
    """Everything in a source, counted once: files of a folder, members of a tar, rows of a table.

    Attributes:
        read: pictures that are read.
        beside: files that say something about them: captions, labels, lists.
        passed: what is passed over, by reason: how many, and the first names.
        notes: what a reader should know, such as captions that are names of folders.
    """

    read: int = 0
    beside: int = 0
    passed: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def pass_over(self, reason: str, names: Iterable[str]) -> None:
        """Count what is passed over for a reason; the first names are kept."""
        for name in names:
            count, first = self.passed.setdefault(reason, (0, []))
            self.passed[reason] = (count + 1, [*first, name] if len(first) < _SHOWN else first)

    def facts(self) -> dict[str, Any]:
        """Plain JSON values for a record."""
        passed = {reason: {"count": count, "first": first} for reason, (count, first) in self.passed.items()}
        return {"read": self.read, "beside": self.beside, "passed_over": passed, "notes": list(self.notes)}

    def __str__(self) -> str:
        """One line."""
        parts = [
            f"{count:,} {reason} ({', '.join(first)}{', ...' if count > len(first) else ''})"
            for reason, (count, first) in self.passed.items()
        ]
        passed = [f"passed over: {', '.join(parts)}"] if parts else []
        return "; ".join([f"{self.read:,} pictures are read", *passed, *self.notes])


def announce(name: str, census: Census) -> None:
    """Print the census on stderr where there is something to say; once a process, by the first of several ranks."""
    line = f"{name}: {census}"
    if (census.passed or census.notes) and os.environ.get("RANK", "0") == "0" and line not in _announced:
        _announced.add(line)
        note(line)
