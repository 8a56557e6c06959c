"""The pictures that a command reads one after another, and the names of those that it writes."""

import hashlib
import re
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from tyro.conf import Positional, arg

from textok.cli import checks
from textok.cli.options import DATA_HELP, BadPictures, Captions, Limit, Size, Split, optional
from textok.data import BadSample, Batch, DataConfig, EvalLoader, Source
from textok.data.samples import SourceSubset, report_bad, write_bad
from textok.display import Progress, note
from textok.pipeline.image_tokenizer import ImageTokenizer

_UNSORTED = 4096  # names at most that wait to be sorted in


@dataclass(frozen=True, kw_only=True)
class PictureOptions(BadPictures):
    """Which pictures, at which size."""

    data: Annotated[Positional[str], arg(metavar="DATA", help=f"a picture file, or {DATA_HELP}")]
    caption: Annotated[str | None, optional("TEXT")] = None
    """one caption for every picture, instead of those of the data"""
    captions: Captions = None
    split: Split = None
    limit: Limit = None
    size: Size = None
    """height and width to resize and crop to, divisible by the patch size"""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least(1, limit=self.limit)
        checks.size(self.size)

    def batches(
        self,
        tokenizer: ImageTokenizer,
        *,
        batch_size: int,
        title: str = "",
        out: Path | None = None,
        all_parts: bool = True,
    ) -> Generator[Batch, None, None]:
        """The pictures in order, with a progress bar on stderr.

        Pictures that were left out, and how many have no caption, are reported there at the end, and listed beside
        ``out``; not with the ``title`` of a pass before the one that counts. ``ValueError`` for data without a usable
        picture.
        """
        config, source = self.open(tokenizer, all_parts=all_parts)
        limit = min(len(source), self.limit or len(source))
        loader = EvalLoader(config, batch_size=batch_size, source=SourceSubset(source, range(limit)))
        counts = Counter[str]()
        with Progress(limit, unit="image", title=title) as progress:
            for batch in loader:
                batch = self.captioned(batch)
                counts.update(counted(batch))
                yield batch
                progress.update(len(batch))
        if not title or not counts:
            self.report(loader.bad.samples, counts, tokenizer, out)

    def open(self, tokenizer: ImageTokenizer, *, all_parts: bool = True) -> tuple[DataConfig, Source]:
        """The pictures, and how they are read for a tokenizer."""
        side = tokenizer.model.config.image_size
        size = self.size or (side, side)
        config = self.config(self.data, split=self.split, captions=self.captions, size=size)
        return config, config.open(all_parts=all_parts)

    def captioned(self, batch: Batch) -> Batch:
        """The batch with the caption of the option, where there is one, in place of its own."""
        return batch if self.caption is None else replace(batch, captions=[self.caption] * len(batch))

    def report(
        self,
        left_out: list[BadSample],
        counts: Mapping[str, int],
        tokenizer: ImageTokenizer,
        out: Path | None,
    ) -> None:
        """Report pictures that were left out, list them beside ``out``, and report how many are without a caption."""
        count, bare = counts["pictures"], counts["bare"]
        if out is not None:
            write_bad(out, [])
        report_bad(left_out, out)
        if not count:
            first = f"such as {left_out[0].key}: {left_out[0].reason}" if left_out else "it is empty"
            raise ValueError(f"{self.data}: no usable picture, {first}")
        if bare and tokenizer.model.config.placement != "none":
            note(f"{bare} of {count} pictures have no caption: encoded without")


def counted(batch: Batch) -> dict[str, int]:
    """How many pictures a batch has, and how many of them are without a caption."""
    return {"pictures": len(batch), "bare": sum(not caption.strip() for caption in batch.captions)}


class PictureNames:
    """PNG file names for keys: no folders, no hidden files, no two alike even where case is ignored.

    Eight bytes of each are remembered, so that a million need no more memory than a batch.
    """

    def __init__(self) -> None:
        self._count, self._last, self._sorted = 0, set[int](), np.empty(0, np.uint64)

    def of(self, key: str) -> str:
        """The file name of the next picture."""
        stem = re.sub(r"[^\w.-]+", "_", key).lstrip(".")[:150] or "picture"
        while not self._is_new(stem.lower()):
            stem = f"{stem}-{self._count}"
        self._count += 1
        return f"{stem}.png"

    def _is_new(self, stem: str) -> bool:
        digest = np.frombuffer(hashlib.blake2b(stem.encode(), digest_size=8).digest(), np.uint64)
        place = np.searchsorted(self._sorted, digest[0])
        if int(digest[0]) in self._last or digest[0] in self._sorted[place : place + 1]:
            return False
        self._last.add(int(digest[0]))
        if len(self._last) == _UNSORTED:
            self._sorted = np.union1d(self._sorted, np.fromiter(self._last, np.uint64))
            self._last.clear()
        return True
