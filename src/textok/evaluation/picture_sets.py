"""Sets of pictures that are scored as sets, generated or real: any source, or an ADM ``.npz``."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import UInt8
from torch import Tensor

from textok.data import (
    BadSampleError,
    DataConfig,
    EvalLoader,
    RawSample,
    Source,
    fit_image,
    image_to_tensor,
    tensor_to_image,
)
from textok.data.files import Census, fingerprint_files
from textok.data.images import DRAWN_SIZE, ImageError, stored_size
from textok.data.records import CaptionedSource, first_captions
from textok.evaluation.adm import read_adm
from textok.evaluation.metrics.frechet import FeatureStatistics

Captions = Mapping[str, str] | Sequence[str]
"""By key, or one per picture in order."""


@dataclass(frozen=True)
class _Pixels:
    """A picture that is at hand as pixels, in the place of one that is drawn."""

    pixels: UInt8[Tensor, "3 h w"]

    def draw(self, size: tuple[int, int]) -> UInt8[Tensor, "3 h2 w2"]:
        if tuple(self.pixels.shape[1:]) == size:
            return self.pixels
        return image_to_tensor(fit_image(tensor_to_image(self.pixels), size))


class AdmSource(Source):
    """The pictures of an ADM ``.npz`` as a source; their keys are their numbers, and they have no captions.

    Args:
        name: the file.
        pictures: what it holds.
    """

    def __init__(self, name: str, pictures: UInt8[Tensor, "n 3 h w"]) -> None:
        self._name, self._pictures = name, pictures
        self.shard_lengths, self.census = [len(pictures)], Census(read=len(pictures))
        self.fingerprint = fingerprint_files([Path(name)], len(pictures))

    def read(self, index: int) -> RawSample:
        """The picture at ``index``."""
        return RawSample(key=str(index), shard=self._name, image=_Pixels(self._pictures[index]))

    def captions(self) -> Iterator[str]:
        """None."""
        return iter(())


def picture_settings(loader: EvalLoader) -> dict[str, Any]:
    """Which pictures these are, for a result file."""
    source, config, bad = loader.source, loader.config, loader.bad.count
    facts = {"data": config.source, "split": config.split, "count": len(source) - bad, "left_out": bad}
    return facts | {"fingerprint": source.fingerprint, "census": source.census.facts()}


def open_pictures(
    name: str,
    *,
    batch_size: int,
    split: str | None = None,
    size: tuple[int, int] | None = None,
    captions: Path | None = None,
    **policy: Any,
) -> EvalLoader:
    """Open a source, or the pictures of an ADM ``.npz``.

    Args:
        name: the source or the file.
        batch_size: pictures at a time.
        split: part of the source.
        size: None takes that of the first picture.
        captions: a file of captions by key, or a JSON list in order, instead of those of the source.
        policy: ``on_bad`` and ``max_bad_share`` of :class:`textok.data.DataConfig`.

    Raises:
        FileNotFoundError: when nothing is there.
        ValueError: for an unknown layout, an ``.npz`` without pictures, a split of one, which has none, or captions
            that do not fit the pictures.
    """
    if name.endswith(".npz"):
        if split is not None:
            raise ValueError(f"{name}: got split {split!r}, expected none: an .npz file has no splits")
        pictures = read_adm(name).pictures
        if pictures is None:
            raise ValueError(f"{name}: got mean and covariance only, expected pictures (arr_0)")
        source, (height, width) = AdmSource(name, pictures), pictures.shape[2:]
    else:
        source = DataConfig(source=name, split=split, **policy).open()
        height, width = size or _first_size(source, stop=policy.get("on_bad") != "skip")
    if captions is not None:
        source = CaptionedSource(source, _by_key(_read_captions(captions), list(source.keys())))
    config = DataConfig(source=name, split=split, size=size or (height, width), **policy)
    return EvalLoader(config, batch_size=batch_size, source=source)


def _first_size(source: Source, *, stop: bool) -> tuple[int, int]:
    for index in range(len(source)):
        try:
            image = source.read(index).image
            return stored_size(image) if isinstance(image, bytes) else DRAWN_SIZE
        except (BadSampleError, ImageError):
            if stop:
                raise
    return DRAWN_SIZE


NEED_PICTURES = (
    "kernel distance, precision, recall, the Fréchet distance along principal directions and floors, "
    "and the copying check"
)
"""Metrics that mean and covariance alone do not give."""


class Reference(NamedTuple):
    """The real pictures that generated ones are compared with: pictures, statistics or both.

    Attributes:
        name: the source, or the file.
        pictures: None where a file has only their statistics.
        statistics: mean and covariance that a file holds, maybe of more pictures than it holds.
    """

    name: str
    pictures: EvalLoader | None
    statistics: FeatureStatistics | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Which pictures these are, for a result file; once they are read."""
        if self.pictures is not None:
            return picture_settings(self.pictures)
        facts = {"data": self.name, "fingerprint": fingerprint_files([Path(self.name)], 0)}
        return facts | {"holds": "mean and covariance only", "left_out": NEED_PICTURES}


def open_reference(
    name: str, *, split: str | None, size: tuple[int, int], batch_size: int, **policy: Any
) -> Reference:
    """Open a source, or an ADM ``.npz`` of pictures, of statistics or of both; raises as ``open_pictures``."""
    if not name.endswith(".npz") or split is not None:
        return Reference(name, open_pictures(name, batch_size=batch_size, split=split, size=size, **policy))
    file = read_adm(name)
    if file.pictures is None:
        return Reference(name, None, file.statistics)
    config, source = DataConfig(source=name, size=size), AdmSource(name, file.pictures)
    return Reference(name, EvalLoader(config, batch_size=batch_size, source=source), file.statistics)


def _read_captions(file: Path) -> Captions:
    """Captions by key, as ``data.records`` reads them, or a JSON list in the order of the pictures."""
    if file.suffix.lower() == ".json" and file.is_file():
        with suppress(ValueError, RecursionError):  # not JSON: the reader by key has the sentence
            captions = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(captions, list) and all(isinstance(text, str) for text in captions):
                return captions
    return first_captions(file)


def _by_key(captions: Captions, keys: Sequence[str]) -> dict[str, tuple[str, ...]]:
    if not isinstance(captions, Mapping):
        if len(captions) != len(keys):
            raise ValueError(
                f"captions: got a list of {len(captions)} for {len(keys)} pictures, expected one each"
            )
        captions = dict(zip(keys, captions, strict=True))
    if missing := [key for key in keys if key not in captions]:
        raise ValueError(f"captions: got none for the picture {missing[0]!r}, expected one for every key")
    return {key: (captions[key],) for key in keys}
