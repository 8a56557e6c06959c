"""A hundred test scenes with captions that people wrote, in no grammar of ours: ``datasets/scenes-foreign.jsonl``."""

import hashlib
import json
from collections.abc import Iterator

from textok.data.samples import RawSample
from textok.data.scenes.drawings import Drawings, drawings_folder
from textok.data.scenes.facts import Facts
from textok.data.scenes.source import Drawn, scene_picture

FILE = "scenes-foreign.jsonl"
_SPLITS = ("test-drawing", "test-concept")


class ForeignSource(Drawn):
    """The foreign captions with the facts of their scenes, of drawings of both test splits.

    Args:
        folder: with the drawings, beside which the file lies; "" takes the clone's.

    Raises:
        FileNotFoundError: when the drawings or the file are not there.
        ValueError: for a malformed line, or one with a drawing that is not there.
    """

    def __init__(self, folder: str = "") -> None:
        drawings = drawings_folder(folder)
        path = drawings.parent / FILE
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; it lies in datasets/ of the repository")
        lines = path.read_text(encoding="utf-8").splitlines()
        self._drawings = {split: Drawings(drawings, split) for split in _SPLITS}
        self.lines = [
            _read(line, f"{path}, line {number}", self._drawings)
            for number, line in enumerate(lines, start=1)
        ]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        super().__init__("test", len(lines), f"scenes-foreign-2-{digest}")

    def read(self, index: int) -> RawSample:
        """The scene at ``index`` with its foreign caption, not drawn yet."""
        split, caption, facts = self.lines[index]
        return RawSample(
            key=f"scene-foreign-{index:03d}",
            shard=FILE,
            image=scene_picture(facts, self._drawings[split]),
            captions=(caption,),
            facts=facts.to_json(),
        )

    def captions(self) -> Iterator[str]:
        """The captions in order."""
        return (caption for _, caption, _ in self.lines)


def _read(line: str, where: str, drawings: dict[str, Drawings]) -> tuple[str, str, Facts]:
    try:
        record = json.loads(line)
        split, caption, facts = record["split"], str(record["caption"]), json.dumps(record["facts"])
        scene, known = Facts.from_json(facts), drawings[split].places
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where}: got {line!r:.60}; expected a split, a caption and facts") from error
    if lacking := [thing.drawing for thing in scene.things if thing.drawing not in known]:
        raise ValueError(f"{where}: got drawing {lacking[0]!r}, expected one of {split}")
    return split, caption, scene
