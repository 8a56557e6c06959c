"""The pictures that a command reads one after another, and the names of those that it writes."""

import re
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from textok.cli.checks import check_at_least, check_size
from textok.cli.options import DATA_HELP, Limit, OnBad, Size, Split
from textok.data import Batch, DataConfig, EvalLoader, decode_image
from textok.display import Progress, note
from textok.pipeline.image_tokenizer import ImageTokenizer

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """Which pictures, at which size."""

    data: Annotated[Positional[str], arg(metavar="DATA", help=f"a picture file, or {DATA_HELP}")]
    caption: Annotated[str | None, arg(metavar="TEXT", help_behavior_hint="")] = None
    """one caption for every picture, instead of those of the data"""
    split: Split = None
    """which part of the data, such as test-drawing; not needed when it has only one"""
    limit: Limit = None
    """take at most so many pictures, from the first"""
    size: Size = None
    """height and width to resize and crop to, divisible by the patch size"""
    on_bad: OnBad = "stop"
    """what to do with an unreadable picture: stop and name it, or leave it out and report it"""

    def __post_init__(self) -> None:
        check_at_least(1, limit=self.limit)
        check_size(self.size)

    def batches(
        self, tokenizer: ImageTokenizer, *, batch_size: int, title: str = ""
    ) -> Generator[Batch, None, None]:
        """The pictures in order, with a progress bar on stderr.

        Pictures that were left out, and how many have no caption, are reported there at the end; not with the
        ``title`` of a pass before the one that counts.

        Raises:
            ValueError: for data without a usable picture, and for a bad picture with ``on_bad="stop"``.
        """
        side = tokenizer.model.config.image_size
        size = self.size or (side, side)
        if Path(self.data).suffix.lower() in PICTURE_SUFFIXES:
            yield _one_picture(Path(self.data), size, caption=self.caption or "")
            return
        loader = self._loader(size, batch_size=batch_size)
        limit = min(len(loader.source), self.limit or len(loader.source))
        count = bare = 0
        with Progress(limit, unit="image", title=title) as progress:
            for batch in loader:
                batch = self._chosen(batch, limit - count)
                count += len(batch)
                bare += sum(not caption.strip() for caption in batch.captions)
                yield batch
                progress.update(len(batch))
                if count == limit:
                    break
        if not count and loader.bad.samples:
            raise ValueError(f"{self.data}: no usable picture; the first: {loader.bad.samples[0].reason}")
        if not title:
            _report(loader, bare if tokenizer.model.config.placement != "none" else 0, count)

    def _loader(self, size: tuple[int, int], *, batch_size: int) -> EvalLoader:
        config = DataConfig(
            source=self.data, split=self.split, size=size, require_captions=False, on_bad=self.on_bad
        )
        return EvalLoader(config, batch_size=batch_size)

    def _chosen(self, batch: Batch, count: int) -> Batch:
        """The first pictures of the batch, with the caption of the option in place of their own."""
        captions = batch.captions if self.caption is None else [self.caption] * len(batch)
        return replace(batch, images=batch.images[:count], captions=captions[:count], keys=batch.keys[:count])


def _report(loader: EvalLoader, bare: int, count: int) -> None:
    for bad in loader.bad.samples:
        note(f"left out '{bad.key}' in {bad.shard}: {bad.reason}")
    if bare:
        note(f"{bare} of {count} pictures have no caption: encoded without")


def _one_picture(path: Path, size: tuple[int, int], *, caption: str) -> Batch:
    try:
        image = decode_image(path.read_bytes(), size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Batch(images=image[None], captions=[caption], keys=[path.stem])


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
