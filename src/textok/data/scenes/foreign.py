"""A hundred test scenes with captions that people wrote, in no grammar of ours: ``datasets/scenes-foreign.jsonl``."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from textok.data.census import Census
from textok.data.samples import RawSample
from textok.data.scenes.drawings import drawings_folder
from textok.data.scenes.facts import Facts
from textok.data.scenes.source import SceneOptions, SceneSource

FILE = "scenes-foreign.jsonl"


@dataclass(frozen=True, kw_only=True)
class ForeignCaption:
    """One line of the file.

    Attributes:
        split: of the scene, "test-drawing" or "test-concept".
        index: of the scene, with seed 0.
        facts: hash of its facts, so that the line is not read with another scene.
        caption: what a person wrote.
    """

    split: str
    index: int
    facts: str
    caption: str


class ForeignSource:
    """The foreign captions with their scenes.

    Args:
        options: only ``drawings`` counts; the file lies beside that folder.

    Raises:
        FileNotFoundError: when the drawings or the file are not there.
        ValueError: when the file was written for other scenes.
    """

    max_window = None

    def __init__(self, options: SceneOptions) -> None:
        folder = drawings_folder(options.drawings)
        self.lines = read_foreign(folder.parent / FILE)
        self._scenes = {
            split: SceneSource(split, SceneOptions(drawings=options.drawings))
            for split in sorted({line.split for line in self.lines})
        }
        self.shard_lengths = [len(self.lines)]
        self.census, self.splits = Census(read=len(self.lines)), ()
        text = "\n".join(line.caption + line.facts for line in self.lines)
        self.fingerprint = f"scenes-foreign-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def __len__(self) -> int:
        return len(self.lines)

    def read(self, index: int) -> RawSample:
        """The scene at ``index`` with its foreign caption.

        Raises:
            ValueError: when the scene is not the one that the caption was written for.
        """
        line = self.lines[index]
        sample = self._scenes[line.split].read(line.index)
        digest = facts_digest(Facts.from_json(sample.facts))
        if digest != line.facts:
            raise ValueError(
                f"{FILE}: line {index + 1} is for facts {line.facts}, but the scene has {digest}; use the drawings of "
                "this version"
            )
        return replace(sample, captions=(line.caption,))

    def captions(self) -> Iterator[str]:
        """The captions in order."""
        return (line.caption for line in self.lines)


def read_foreign(path: Path) -> list[ForeignCaption]:
    """The lines of the file.

    Raises:
        FileNotFoundError: when it is not there.
        ValueError: for a malformed line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; it lies in datasets/ of the repository")
    lines = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            lines.append(ForeignCaption(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}: got {line!r:.60}; expected split, index, facts and caption"
            ) from error
    return lines


def facts_digest(facts: Facts) -> str:
    """A short hash of a scene's facts."""
    return hashlib.sha256(facts.to_json().encode()).hexdigest()[:12]
