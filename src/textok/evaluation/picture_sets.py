"""Sets of pictures that are scored as sets, generated or real: any source, or an ADM ``.npz``."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from textok.data.caption_files import CaptionedSource, first_captions
from textok.data.census import Census
from textok.data.files import fingerprint_files
from textok.data.images import DRAWN_SIZE, ImageError, stored_size
from textok.evaluation.adm import read_adm
from textok.evaluation.metrics.frechet import FeatureStatistics
from textok.evaluation.networks import FeatureNetwork

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
        source = _config(name, split, (1, 1), **policy).open()
        height, width = size or _first_size(source, stop=policy.get("on_bad") != "skip")
    if captions is not None:
        source = CaptionedSource(source, _by_key(_read_captions(captions), list(source.keys())))
    config = _config(name, split, size or (height, width), **policy)
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


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The real pictures that generated ones are compared with; at least one of ``pictures`` and ``statistics``.

    Attributes:
        name: the source, or the file.
        pictures: None where a file has only their statistics.
        statistics: mean and covariance that a file holds, maybe of more pictures than it holds.
    """

    name: str
    pictures: EvalLoader | None
    statistics: FeatureStatistics | None = None

    @classmethod
    def open(
        cls,
        name: str,
        *,
        split: str | None,
        size: tuple[int, int],
        batch_size: int,
        train: str | None = None,
        **policy: Any,
    ) -> "Reference":
        """Open a source, or an ADM ``.npz`` of pictures, of statistics or of both; raises as ``open_pictures``.

        ``train`` names the training pictures of the copying check, which needs a reference with pictures.
        """
        if not name.endswith(".npz") or split is not None:
            pictures = open_pictures(name, batch_size=batch_size, split=split, size=size, **policy)
            return cls(name=name, pictures=pictures)
        file = read_adm(name)
        if file.pictures is not None:
            source, config = AdmSource(name, file.pictures), _config(name, None, size)
            pictures = EvalLoader(config, batch_size=batch_size, source=source)
            return cls(name=name, pictures=pictures, statistics=file.statistics)
        if train is not None:
            raise ValueError(
                f"train: got {train}, but {name} holds mean and covariance only, and the copying check compares with "
                "real pictures; give a reference with pictures, or leave train out"
            )
        return cls(name=name, pictures=None, statistics=file.statistics)

    @property
    def settings(self) -> dict[str, Any]:
        """Which pictures these are, for a result file."""
        if self.pictures is not None:
            return picture_settings(self.pictures)
        return {
            "data": self.name,
            "fingerprint": fingerprint_files([Path(self.name)], 0),
            "holds": "mean and covariance only",
            "left_out": NEED_PICTURES,
        }

    def statistics_for(self, network: FeatureNetwork) -> FeatureStatistics | None:
        """The file's own mean and covariance; None where they are not of this network's features.

        Raises:
            ValueError: when they are not and there are no pictures either.
        """
        if self.statistics is None or self.statistics.dim == network.dim:
            return self.statistics
        if self.pictures is None:
            raise ValueError(
                f"{self.name}, mu: got {self.statistics.dim} channels, expected the {network.dim} of {network.name}; "
                "choose the network that the statistics are of by the option network"
            )
        return None


def _read_captions(file: Path) -> Captions:
    """Captions by key, as ``data.caption_files`` reads them, or a JSON list in the order of the pictures."""
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


def _config(name: str, split: str | None, size: tuple[int, int], **policy: Any) -> DataConfig:
    return DataConfig(source=name, split=split, size=size, **policy)
