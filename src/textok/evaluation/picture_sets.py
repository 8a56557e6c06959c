"""Sets of pictures that are scored as sets, generated or real: any source, or an ADM ``.npz``."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import UInt8
from torch import Tensor

from textok.data import BadSampleError, DataConfig, EvalLoader, RawSample, Source
from textok.data.files import Census, fingerprint_files
from textok.data.images import (
    DRAWN_SIZE,
    ImageError,
    fit_image,
    image_to_tensor,
    stored_size,
    tensor_to_image,
)
from textok.data.records import CaptionedSource, first_captions
from textok.evaluation.adm import read_adm
from textok.evaluation.metrics.sets import FeatureStatistics


@dataclass(frozen=True)
class _Pixels:
    pixels: UInt8[Tensor, "3 h w"]

    def draw(self, size: tuple[int, int]) -> UInt8[Tensor, "3 h2 w2"]:
        if tuple(self.pixels.shape[1:]) == size:
            return self.pixels
        return image_to_tensor(fit_image(tensor_to_image(self.pixels), size))


class AdmSource(Source):
    """The pictures of an ADM ``.npz`` as a source; their keys are their numbers, and they have no captions."""

    def __init__(self, name: str, pictures: UInt8[Tensor, "n 3 h w"]) -> None:
        self._name, self._pictures = name, pictures
        self.shard_lengths, self.census = [len(pictures)], Census(read=len(pictures))
        self.fingerprint = fingerprint_files([Path(name)], len(pictures))

    def read(self, index: int) -> RawSample:
        """The picture at ``index``."""
        return RawSample(key=str(index), shard=self._name, image=_Pixels(self._pictures[index]))


NEED_PICTURES = (
    "kernel distance, precision, recall, the Fréchet distance along principal directions and floors, "
    "and the copying check"
)
"""Metrics that mean and covariance alone do not give."""


class PictureSet(NamedTuple):
    """Pictures, or only (None) their mean and covariance, which a file may hold of more pictures."""

    name: str
    pictures: EvalLoader | None
    statistics: FeatureStatistics | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Which pictures these are, for a result file; once they are read."""
        if self.pictures is not None:
            return settings_of(self.pictures)
        facts = {"data": self.name, "fingerprint": fingerprint_files([Path(self.name)], 0)}
        return facts | {"holds": "mean and covariance only", "left_out": NEED_PICTURES}


def settings_of(loader: EvalLoader) -> dict[str, Any]:
    """Which pictures these are, for a result file."""
    source, config, bad = loader.source, loader.config, loader.bad.count
    facts = {"data": config.source, "split": config.split, "count": len(source) - bad, "left_out": bad}
    return facts | {"fingerprint": source.fingerprint, "census": source.census.facts()}


def open_pictures(name: str, **reading: Any) -> EvalLoader:
    """The pictures of :func:`open_set`; ``ValueError`` for a file that has none."""
    pictures = open_set(name, **reading).pictures
    if pictures is None:
        raise ValueError(f"{name}: got mean and covariance only, expected pictures (arr_0)")
    return pictures


def open_set(
    name: str,
    *,
    batch_size: int,
    split: str | None = None,
    size: tuple[int, int] | None = None,
    captions: Path | None = None,
    **policy: Any,
) -> PictureSet:
    """Open a source, or an ADM ``.npz`` of pictures, of statistics or of both; the size is that of the first picture
    where none is given.

    ``captions`` is a file of captions by key, or a JSON list in order, instead of those of the source; ``policy`` is
    about bad pictures, as in :class:`textok.data.DataConfig`. ``ValueError`` for an unknown layout, a split of an
    ``.npz``, or captions that do not fit the pictures.
    """
    statistics = None
    if name.endswith(".npz"):
        if split is not None:
            raise ValueError(f"{name}: got split {split!r}, expected none: an .npz file has no splits")
        pictures, statistics = read_adm(name)
        if pictures is None:
            return PictureSet(name, None, statistics)
        source, (height, width) = AdmSource(name, pictures), pictures.shape[2:]
    else:
        source = DataConfig(source=name, split=split, **policy).open()
        height, width = size or _first_size(source, stop=policy.get("on_bad") != "skip")
    if captions is not None:
        source = CaptionedSource(source, _by_key(captions, list(source.keys())))
    config = DataConfig(source=name, split=split, size=size or (height, width), **policy)
    return PictureSet(name, EvalLoader(config, batch_size=batch_size, source=source), statistics)


def _first_size(source: Source, *, stop: bool) -> tuple[int, int]:
    for index in range(len(source)):
        try:
            image = source.read(index).image
            return stored_size(image) if isinstance(image, bytes) else DRAWN_SIZE
        except (BadSampleError, ImageError):
            if stop:
                raise
    return DRAWN_SIZE


def _by_key(file: Path, keys: list[str]) -> dict[str, tuple[str, ...]]:
    """Captions by key, as ``data.caption_files`` reads them, or from a JSON list in the order of the pictures."""
    captions: Any = None
    if file.suffix.lower() == ".json" and file.is_file():
        with suppress(ValueError, RecursionError):  # not JSON: the reader by key has the sentence
            captions = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
        captions = first_captions(file)
    elif len(captions) == len(keys):
        captions = dict(zip(keys, captions, strict=True))
    else:
        raise ValueError(
            f"captions: got a list of {len(captions)} for {len(keys)} pictures, expected one each"
        )
    if missing := [key for key in keys if key not in captions]:
        raise ValueError(f"captions: got none for the picture {missing[0]!r}, expected one for every key")
    return {key: (captions[key],) for key in keys}
