"""Random access to stored samples, whatever the form: folders, tars, parquet, HF datasets, COCO."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from textok.data.files import Listing, cache_folder, fingerprint_of, is_remote, list_files
from textok.data.records import Fields
from textok.data.samples import Source
from textok.data.scenes import is_drawn
from textok.data.sources.opening import open_coco, open_listing
from textok.data.sources.spans import SpanSource
from textok.data.sources.tar import TAR_SUFFIXES

MANY_FILES, LARGE_TAR = 10_000, 64 << 20
"""What is opened from so many files, or from a tar of so many bytes, is opened faster the next time."""
_INDEX_VERSION = 2


@contextmanager
def _without_collection() -> Iterator[None]:
    """Do not look for cycles among hundreds of thousands of new tuples: it takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collection()
def open_source(
    source: str | Path, split: str | None = None, *, fields: Fields | None = None, on_bad: str = "stop"
) -> Source:
    """Open a data set; prints nothing, its ``census`` says what was passed over.

    Args:
        source: "scenes" or "icons" (docs/scenes.md), a file, a folder, a glob, brace notation
            (``train-{000..009}.tar``) or an fsspec address such as ``hf://datasets/someone/pictures``; COCO captions
            are ``captions_SPLIT.json``, where the pictures lie beside it as COCO unpacks, or ``FILE.json:FOLDER``. Of a
            folder with several forms in it, the one that holds most pictures is read.
        split: which part of it, named by files (``SPLIT-000000.tar``, ``SPLIT-00000-of-00001.parquet``), by folders
            (``SPLIT/``) or by the data set; None for all of it.
        fields: names of the image, caption and label fields, where they are not the usual ones.
        on_bad: "skip" counts files and folders that cannot be opened, "stop" raises.

    Raises:
        FileNotFoundError: when nothing is there.
        ValueError: when the layout or the split is unknown; the message says what was found.
    """
    if is_drawn(source):
        from textok.data.scenes.source import open_drawn  # only now: it loads what draws

        return open_drawn(str(source), split)
    fields = fields or Fields()
    words, colon, folder = str(source).partition(".json:")
    if colon or words.endswith(".json"):
        return open_coco(words + ".json" * bool(colon), folder or None, split, fields=fields)
    files = list_files(source, on_bad=on_bad)
    tars = [file.size for file in files.files if file.name.lower().endswith(TAR_SUFFIXES)]
    if len(files.files) < MANY_FILES and max(tars, default=0) < LARGE_TAR:
        return open_listing(files.sorted_out(), split, source, fields=fields, on_bad=on_bad)
    return _open_indexed(files, split, source, fields=fields, on_bad=on_bad)


def _open_indexed(
    files: Listing, split: str | None, source: str | Path, *, fields: Fields, on_bad: str
) -> Source:
    options = (_INDEX_VERSION, source if is_remote(source) else Path(source).resolve(), split, fields, on_bad)
    index, identity = cache_folder("index") / fingerprint_of(options), files.fingerprint(files.root, *options)
    opened = SpanSource.load(index, identity, fields=fields)
    if opened is None:
        opened = open_listing(files.sorted_out(), split, source, fields=fields, on_bad=on_bad)
        if isinstance(opened, SpanSource):
            opened.save(index, identity)
    return opened
