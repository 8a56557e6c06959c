"""A hundred test scenes with captions that people wrote, in no grammar of ours."""

import hashlib
import json

from textok.data.files import Census
from textok.data.samples import RawSample, Source
from textok.data.scenes.drawings import Drawings, drawings_folder
from textok.data.scenes.facts import Facts
from textok.data.scenes.source import scene_picture

FOREIGN_FILE = "scenes-foreign.jsonl"
_SPLITS = ("test-drawing", "test-concept")


class ForeignSource(Source):
    """Captions in no grammar of ours with the facts of their scenes, of drawings of both test splits.

    Args:
        folder: with the drawings, beside which ``scenes-foreign.jsonl`` lies; "" takes the clone's.

    Raises:
        FileNotFoundError: when the drawings or the file are not there.
        ValueError: for a malformed line, or one with a drawing that is not there.
    """

    def __init__(self, folder: str = "") -> None:
        drawings = drawings_folder(folder)
        path = drawings.parent / FOREIGN_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; it lies in datasets/ of the repository")
        lines = path.read_text(encoding="utf-8").splitlines()
        self._drawings = {split: Drawings(drawings, split) for split in _SPLITS}
        self.lines = [
            _read(line, f"{path}, line {number}", self._drawings)
            for number, line in enumerate(lines, start=1)
        ]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        self.shard_lengths, self.census = [len(lines)], Census(read=len(lines))
        self.fingerprint = f"scenes-foreign-2-{digest}"

    def read(self, index: int) -> RawSample:
        """The scene at ``index`` with its foreign caption, not drawn yet."""
        split, caption, facts = self.lines[index]
        return RawSample(
            key=f"scene-foreign-{index:03d}",
            shard=FOREIGN_FILE,
            image=scene_picture(facts, self._drawings[split]),
            captions=(caption,),
            facts=facts.to_json(),
        )


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
