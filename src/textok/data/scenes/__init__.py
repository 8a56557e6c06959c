"""Scenes: pictures composed from drawings, with captions at three densities and the facts behind both."""

import json
from pathlib import Path
from typing import Any

NAMES = ("scenes", "icons")
TABLES: dict[str, Any] = json.loads(Path(__file__).with_name("words.json").read_text(encoding="utf-8"))
"""The words, phrasings and colours of scenes."""


def is_drawn(source: object) -> bool:
    """Whether a name stands for pictures that are drawn here: "scenes", "scenes:dense,seed=1", "icons"."""
    return isinstance(source, str) and source.partition(":")[0] in NAMES
