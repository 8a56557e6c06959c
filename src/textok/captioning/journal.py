"""The files of a captioning run: a caption is written before the next is asked for, and none is asked for twice."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from textok.captioning import CaptionConfig, Prompt
from textok.writing import mark_folder, replacing, strict_json, write_json

CAPTIONS, REJECTED, SETTINGS, TABLE = "captions.jsonl", "rejected.jsonl", "settings.json", "captions.parquet"
_SAME = ("writer", "known", "temperature", "seed", "max_tokens", "side", "quality")
_FLUSH_EVERY = 200  # rows: a killed process loses none of them, a power cut these at most
_ROWS_AT_ONCE = 20_000
_TYPES = {
    pa.string(): ("key", "caption", "writer", "model", "prompt", "time", "picture"),
    pa.int64(): ("number", "seed", "tokens_in", "tokens_out", "asks"),
    pa.float64(): ("temperature", "cost", "seconds"),
    pa.list_(pa.string()): ("changes",),
}
_SCHEMA = pa.schema([(name, kind) for kind, names in _TYPES.items() for name in names])


@dataclass(frozen=True, kw_only=True)
class Row:
    """One caption of one picture by its number, from 0; or the ``reason`` why there is none.

    Of a rejected one the caption is the beginning of what came last. ``changes`` are what was mended. Seed and
    temperature are those of the last ask, tokens read and written those of all asks, seconds from the first one to the
    verdict. ``picture`` is a hash, to notice that the picture changed.
    """

    key: str
    number: int = 0
    caption: str = ""
    reason: str | None = None
    changes: tuple[str, ...] = ()
    seed: int = 0
    temperature: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    asks: int = 0
    seconds: float = 0.0
    picture: str = ""


class Journal(AbstractContextManager["Journal"]):
    """The rows of a folder, those of earlier runs included, and at the end the table of the accepted ones.

    One process at a time may open it. A last line that was cut off is taken away.
    A folder of captions that were made otherwise is refused (``ValueError``). To ask about rejected pictures ``again``,
    their rows move to ``rejected.before.jsonl``.
    """

    def __init__(
        self, folder: Path, config: CaptionConfig, *, model: str, prompt: Prompt, again: bool = False
    ) -> None:
        self.config, self.prompt, self.folder = config, prompt, folder
        self._shared = {"writer": config.writer, "model": model, "prompt": prompt.name}
        same = {name: value for name, value in asdict(config).items() if name in _SAME}
        _check_settings(folder / SETTINGS, same | self._shared | {"prompt_text": prompt.text})
        if again and (folder / REJECTED).exists():
            os.replace(folder / REJECTED, folder / "rejected.before.jsonl")
        self.done: dict[tuple[str, int], str] = {}
        self._verdicts = Counter[str | None]()  # by the reason, which accepted captions have none of
        self.spent: dict[str, float] = dict.fromkeys(("tokens_in", "tokens_out", "cost", "seconds"), 0)
        for name in (CAPTIONS, REJECTED):
            _cut_torn_line(folder / name)
        for row in read_verdicts(folder):
            self._count(row)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._files = [os.open(folder / name, flags, 0o666) for name in (CAPTIONS, REJECTED)]
        self._unflushed = 0

    def add(self, row: Row) -> None:
        """Write a verdict: the system has it when this returns, the disk some rows later."""
        cost = (row.tokens_in * self.config.price_in + row.tokens_out * self.config.price_out) / 1e6
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._write({**vars(row), **self._shared, "cost": cost, "time": now})

    def take(self, folder: Path) -> None:
        """Take in the verdicts of another journal of the same settings; what is here stays."""
        for row in read_verdicts(folder):
            if (row["key"], row["number"]) not in self.done:
                self._write(row)
        self._flush()

    def _write(self, content: dict[str, Any]) -> None:
        line = memoryview(f"{strict_json(content)}\n".encode())
        while line:  # a full disk takes a part of it, then raises
            line = line[os.write(self._files[content["reason"] is not None], line) :]
        self._count(content)
        self._unflushed += 1
        if self._unflushed >= _FLUSH_EVERY:
            self._flush()

    def _flush(self) -> None:
        for handle in self._files:
            os.fsync(handle)
        self._unflushed = 0

    def facts(self) -> dict[str, Any]:
        """Counts of all runs on the folder."""
        rejected = {reason: count for reason, count in self._verdicts.items() if reason}
        spent = {name: round(self.spent[name], 6) for name in ("tokens_in", "tokens_out", "cost")}
        return {"captions": self._verdicts[None], "rejected": rejected, **spent}

    def estimate(self, *, pictures: int, in_flight: int) -> dict[str, int | float]:
        """What the captions that are missing of so many pictures will take, going by those that are there."""
        done = len(self.done)
        if not done:
            raise ValueError(
                "estimate: got no captions to go by, expected some; caption a few first by --limit 20"
            )
        left = max(0, pictures * self.config.captions_per_picture - done)
        rest = {name: round(value * left / done, 4) for name, value in self.spent.items()}
        hours = rest.pop("seconds") / in_flight / 3600
        return {"captions": left, **rest, "hours": round(hours, 4)}

    def __exit__(self, *_: object) -> None:
        self._flush()
        for handle in self._files:
            os.close(handle)
        _cut_torn_line(self.folder / CAPTIONS)  # that a full disk left
        with (
            replacing(self.folder / TABLE) as temporary,
            pq.ParquetWriter(temporary, _SCHEMA, compression="zstd") as writer,
        ):
            rows = read_rows(self.folder / CAPTIONS)
            while some := list(islice(rows, _ROWS_AT_ONCE)):
                writer.write_table(pa.Table.from_pylist(some, schema=_SCHEMA))

    def _count(self, row: dict[str, Any]) -> None:
        self.done[row["key"], row["number"]] = row.get("picture", "")
        self.spent = {name: value + row[name] for name, value in self.spent.items()}
        self._verdicts[row["reason"] and row["reason"].partition(":")[0]] += 1


def read_verdicts(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of a folder, the accepted captions first."""
    for name in (CAPTIONS, REJECTED):
        yield from read_rows(folder / name)


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a journal, none when it is not there; ``ValueError`` names a line that is no row."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
                row["key"], row["number"], row["caption"], row["reason"]
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(f"{path}: got line {number}, expected a row of textok caption") from error
            yield row


def _cut_torn_line(path: Path) -> None:
    if path.exists():
        with open(path, "rb+") as file:
            file.truncate(sum(len(line) for line in file if line.endswith(b"\n")))


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    if not path.exists():
        mark_folder(path.parent, "captions")  # first: a folder without the mark is somebody else's
        write_json(path, settings)
    before = json.loads(path.read_text(encoding="utf-8"))
    for name, value in settings.items():
        if before.get(name) != value:
            raise ValueError(
                f"out: got {path.parent}, whose captions were made with {name} {before.get(name)!r}, expected "
                f"{value!r}; take another folder, or the same options"
            )
