"""Captions in a file of their own, by key: .parquet and .jsonl as ``textok caption`` writes them, or .json."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from textok.data.records import RecordError, parse_record, read_captions
from textok.data.samples import RawSample, Source

_KEY_AND_CAPTION = ("key", "caption", "captions")
_TABLE = "captions.parquet"
_Row = tuple[str, Mapping[str, Any]]  # where it is, and what it says


def read_caption_file(file: str | Path) -> dict[str, tuple[str, ...]]:
    """The captions of each key, in the order of the file.

    It is .parquet or .jsonl with ``key`` and ``caption`` or ``captions`` (several rows per key are several captions), a
    .json object ``{key: caption or captions}``, or a folder that ``textok caption`` wrote. ``FileNotFoundError`` when
    it is not there, ``ValueError`` when it holds anything else; names the line or the key.
    """
    path = Path(file)
    if path.is_dir():
        lines = path / "captions.jsonl"
        path = lines if lines.is_file() and not (path / _TABLE).is_file() else path / _TABLE
    if not path.is_file():
        raise FileNotFoundError(
            f"captions: got {path}, expected a .parquet, .jsonl or .json file of captions"
        )
    readers = {".parquet": _parquet_rows, ".jsonl": _json_lines}
    captions: dict[str, tuple[str, ...]] = {}
    for place, record in readers.get(path.suffix.lower(), _json_object)(path):
        key = record.get("key")
        try:
            if not isinstance(key, str):
                raise RecordError(f"'key' is {key!r:.80}; expected the key of a picture")
            captions[key] = captions.get(key, ()) + read_captions(record, None)
        except RecordError as error:
            raise ValueError(f"captions: got {path}, {place}: {error}") from error
    return captions


def first_captions(file: str | Path) -> dict[str, str]:
    """The first caption of each key, "" where there is none; errors as :func:`read_caption_file`."""
    return {key: captions[0] if captions else "" for key, captions in read_caption_file(file).items()}


class CaptionedSource(Source):
    """A source whose samples have the captions of a file, by key, or none; those of the source are not used."""

    def __init__(self, source: Source, captions: Mapping[str, tuple[str, ...]]) -> None:
        self._source, self._captions = source, captions
        self.shard_lengths, self.max_window = source.shard_lengths, source.max_window
        self.census, self.splits = source.census, source.splits
        content = hashlib.sha256(repr(sorted(captions.items())).encode(errors="replace"))
        self.fingerprint = f"{source.fingerprint}-{content.hexdigest()[:16]}"

    def read(self, index: int) -> RawSample:
        """The sample at ``index`` with its captions; raises :class:`BadSampleError` when it cannot be read."""
        sample = self._source.read(index)
        return replace(sample, captions=self._captions.get(sample.key, ()))

    def captions(self) -> Iterator[str]:
        """Every caption of the file."""
        return chain.from_iterable(self._captions.values())


def _parquet_rows(path: Path) -> Iterable[_Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if name in _KEY_AND_CAPTION]
            for batch in file.iter_batches(columns=names, use_threads=False):
                yield from (("a row", row) for row in batch.to_pylist())
    except pa.ArrowException as error:
        raise ValueError(f"captions: got {path}, which is not a readable parquet file ({error})") from error


def _json_lines(path: Path) -> Iterable[_Row]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                if line.strip():
                    yield f"line {number}", parse_record(line)
            except RecordError as error:
                raise ValueError(f"captions: got {path}, line {number}: {error}") from error


def _json_object(path: Path) -> Iterable[_Row]:
    expected = "expected {key: caption}"
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"captions: got {path}, which is not JSON ({error}), {expected}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"captions: got a JSON {type(content).__name__} in {path}, {expected}")
    return [(f"key {key!r}", {"key": key, "captions": value}) for key, value in content.items()]
