"""File names for pictures."""

import re


class PictureNames:
    """PNG file names for keys: no folders, no hidden files, no two alike even where case is ignored."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, key: str) -> str:
        """The file name of the next picture."""
        stem = re.sub(r"[^\w.-]+", "_", key).lstrip(".")[:150] or "picture"
        while stem.lower() in self._taken:
            stem = f"{stem}-{len(self._taken)}"
        self._taken.add(stem.lower())
        return f"{stem}.png"
