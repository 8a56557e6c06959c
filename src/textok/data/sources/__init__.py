"""Random access to stored samples, whatever the form: folders, tars, parquet, HF datasets, COCO."""

from pathlib import Path

from textok.data.records import Fields
from textok.data.samples import Source
from textok.data.scenes import is_drawn
from textok.data.sources.opening import open_stored


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
    return open_stored(source, split, fields=fields or Fields(), on_bad=on_bad)
