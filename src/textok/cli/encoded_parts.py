"""The parts of an encoding that is under way: kept in a hidden folder, so that a killed one goes on."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from textok.data import Source
from textok.data.contents import shown_changes, stale_parts
from textok.display import note
from textok.pipeline.tokens import StoredDtype, Tokens, load_tokens, save_parts
from textok.writing import write_json


class Parts:
    """The tokens of the first pictures, the next ones, ...: files in a hidden folder beside the file of all."""

    def __init__(self, out: Path) -> None:
        self.out, self.folder = out, out.with_name(f".{out.name}.parts")

    @contextmanager
    def open(self, job: Mapping[str, Any], source: Source, places: Sequence[range]) -> Iterator[None]:
        """Begin, or go on, with the parts of a job; those whose pictures or captions changed are removed.

        A failure before the first finished part leaves no folder.
        """
        file, data = self.folder / "job.json", {"data": source.fingerprint}
        job = json.loads(json.dumps({**job, **data}))
        before = json.loads(file.read_text()) if file.is_file() else {}
        if before | data != job:
            self.remove()
        elif before != job:
            self._remove_changed(source, places, all_after=bool(job.get("overflow_share")))
        write_json(file, job)
        try:
            yield
        except BaseException:
            if not any(self.folder.glob("[0-9]*.json")):
                self.remove()
            raise

    def _remove_changed(self, source: Source, places: Sequence[range], *, all_after: bool) -> None:
        files = sorted(self.folder.glob("[0-9]*.json"))
        notes = [json.loads(file.read_text())["contents"] for file in files]
        own = [places[int(file.stem)] if int(file.stem) < len(places) else range(0) for file in files]
        contents = [[(key, content) for key, content in note] for note in notes]
        stale, changed = stale_parts(source, list(zip(own, contents, strict=True)))
        if not stale:
            return
        for number in stale:
            files[number].unlink()
            files[number].with_suffix(".safetensors").unlink(missing_ok=True)
        if all_after:  # the parts that are left depend on those before them
            self.remove()
        note(f"made anew what changed since the interruption: {shown_changes(changed)}")

    def note(self, number: int) -> dict[str, Any] | None:
        """What was noted of a finished part; None of one that is not finished."""
        file = self.folder / f"{number:06d}.json"
        return json.loads(file.read_text()) if file.is_file() else None

    def save(self, number: int, tokens: list[Tokens], record: dict[str, Any], *, dtype: StoredDtype) -> None:
        """Keep a finished part."""
        if tokens:
            save_parts(tokens, self.folder / f"{number:06d}.safetensors", dtype=dtype)
        write_json(self.folder / f"{number:06d}.json", record)

    def content(self) -> str:
        """A hash of all pictures and captions that the finished parts were made of."""
        digest = hashlib.sha256()
        for file in sorted(self.folder.glob("[0-9]*.json")):
            for key, content in json.loads(file.read_text())["contents"]:
                digest.update(f"{key}:{content}\n".encode())
        return digest.hexdigest()[:16]

    def __iter__(self) -> Iterator[Tokens]:
        """The tokens of all parts; a picture whose name came before gets a number behind it."""
        counts = Counter[str]()
        for file in sorted(self.folder.glob("*.safetensors")):
            tokens = load_tokens(file)
            yield replace(tokens, keys=tuple(unique(key, counts) for key in tokens.keys))

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def unique(key: str, counts: Counter[str]) -> str:
    """The key, or with a number behind it where ``counts`` has it already; counts it."""
    name = key
    while counts[name]:
        counts[key] += 1
        name = f"{key}-{counts[key]}"
    counts[name] += 1
    return name
