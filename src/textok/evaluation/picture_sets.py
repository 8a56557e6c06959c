"""Sets of pictures that are scored as sets, generated or real: any source, or an ADM ``.npz``."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from textok.data import (
    Batch,
    DataConfig,
    EvalLoader,
    Source,
    fit_image,
    image_to_tensor,
    tensor_to_image,
)
from textok.data.caption_files import first_captions
from textok.data.files import fingerprint_files
from textok.data.images import DRAWN_SIZE, stored_size
from textok.evaluation.adm import read_adm
from textok.evaluation.metrics.frechet import FeatureStatistics
from textok.evaluation.networks import FeatureNetwork

MAX_CAPTION_BYTES = 256 << 20

Captions = Mapping[str, str] | Sequence[str]
"""By key, or one per picture in order."""


@dataclass(frozen=True, kw_only=True)
class PictureSet:
    """Pictures of one size, in order.

    Attributes:
        name: the source, or the file.
        size: height and width that every picture is resized and cropped to.
        stored: the source, or the pictures themselves of an ``.npz``.
        split: part of the source.
        captions: captions to take instead of those of the source.
    """

    name: str
    size: tuple[int, int]
    stored: Source | UInt8[Tensor, "n 3 h w"]
    split: str | None = None
    captions: Captions | None = None

    def __post_init__(self) -> None:
        captions = self.captions
        if captions is None or isinstance(captions, Mapping):
            return
        if len(captions) != len(self):
            raise ValueError(
                f"captions: got a list of {len(captions)} for {len(self)} pictures; expected one each"
            )

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def settings(self) -> dict[str, Any]:
        """Which pictures these are, for a result file."""
        fingerprint = getattr(self.stored, "fingerprint", None)
        return {
            "data": self.name,
            "split": self.split,
            "count": len(self),
            "fingerprint": fingerprint or fingerprint_files([Path(self.name)], len(self)),
        }

    @property
    def captioned(self) -> bool:
        """Whether any picture has a caption."""
        if self.captions is not None:
            return bool(self.captions)
        return not isinstance(self.stored, Tensor) and next(self.stored.captions(), None) is not None

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """The pictures with their keys and captions; "" for none.

        Raises:
            ValueError: when the given captions do not fit the pictures.
        """
        start = 0
        for batch in self._stored_batches(batch_size):
            if self.captions is not None:
                batch = replace(batch, captions=_captions_of(self.captions, batch.keys, start))
            yield batch
            start += len(batch)

    def _stored_batches(self, batch_size: int) -> Iterator[Batch]:
        if not isinstance(self.stored, Tensor):
            config = _config(self.name, self.split, self.size)
            yield from EvalLoader(config, batch_size=batch_size, source=self.stored)
            return
        for rows in torch.arange(len(self.stored)).split(batch_size):
            keys = [str(row) for row in rows.tolist()]
            yield Batch(images=_fitted(self.stored[rows], self.size), keys=keys, captions=[""] * len(keys))


def open_pictures(
    name: str,
    *,
    split: str | None = None,
    size: tuple[int, int] | None = None,
    captions: Captions | None = None,
) -> PictureSet:
    """Open a source, or the pictures of an ADM ``.npz``.

    Args:
        name: the source or the file.
        split: part of the source.
        size: None takes that of the first picture.
        captions: instead of those of the source.

    Raises:
        FileNotFoundError: when nothing is there.
        ValueError: for an unknown layout, an ``.npz`` without pictures, or a split of one, which has none.
    """
    if not name.endswith(".npz"):
        source = _config(name, split, (1, 1)).open()
        picture = source.read(0).image
        size = size or (stored_size(picture) if isinstance(picture, bytes) else DRAWN_SIZE)
        return PictureSet(name=name, split=split, size=size, stored=source, captions=captions)
    if split is not None:
        raise ValueError(f"{name}: got split {split!r}, expected none: an .npz file has no splits")
    pictures = read_adm(name).pictures
    if pictures is None:
        raise ValueError(f"{name}: got mean and covariance only, expected pictures (arr_0)")
    height, width = pictures.shape[2:]
    return PictureSet(name=name, size=size or (height, width), stored=pictures, captions=captions)


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
    pictures: PictureSet | None
    statistics: FeatureStatistics | None = None

    @classmethod
    def open(
        cls, name: str, *, split: str | None, size: tuple[int, int], train: str | None = None
    ) -> "Reference":
        """Open a source, or an ADM ``.npz`` of pictures, statistics or both; raises as ``open_pictures``.

        ``train`` are the training pictures of the copying check, which needs a reference with pictures.
        """
        if not name.endswith(".npz") or split is not None:
            return cls(name=name, pictures=open_pictures(name, split=split, size=size))
        file = read_adm(name)
        if file.pictures is not None:
            pictures = PictureSet(name=name, size=size, stored=file.pictures)
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
            return self.pictures.settings
        return {
            "data": self.name,
            "fingerprint": fingerprint_files([Path(self.name)], 0),
            "holds": "mean and covariance only",
            "left_out": NEED_PICTURES,
        }

    def fits(self, network: FeatureNetwork) -> bool:
        """Whether the file's own mean and covariance can be of this network's features.

        Raises:
            ValueError: when they cannot and there are no pictures.
        """
        if self.statistics is None or self.statistics.dim == network.dim:
            return self.statistics is not None
        if self.pictures is None:
            raise ValueError(
                f"{self.name}, mu: got {self.statistics.dim} channels, expected the {network.dim} of {network.name}; "
                "choose the network that the statistics are of by the option network"
            )
        return False


def read_captions_file(file: Path) -> Captions:
    """Captions by key, as ``data.caption_files`` reads them, or a JSON list in the order of the pictures.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for anything else.
    """
    if file.suffix.lower() == ".json" and file.is_file():
        if file.stat().st_size > MAX_CAPTION_BYTES:
            raise ValueError(f"captions: got {file}, over the limit of {MAX_CAPTION_BYTES:,} bytes")
        with suppress(ValueError, RecursionError):  # not JSON: the reader by key has the sentence
            captions = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(captions, list) and all(isinstance(text, str) for text in captions):
                return captions
    return first_captions(file)


def _captions_of(captions: Captions, keys: Sequence[str], start: int) -> list[str]:
    if not isinstance(captions, Mapping):
        return list(captions[start : start + len(keys)])
    missing = [key for key in keys if key not in captions]
    if missing:
        raise ValueError(f"captions: got none for the picture {missing[0]!r}, expected one for every key")
    return [captions[key] for key in keys]


def _config(name: str, split: str | None, size: tuple[int, int]) -> DataConfig:
    return DataConfig(source=name, split=split, size=size, require_captions=False)


def _fitted(images: UInt8[Tensor, "b 3 _ _"], size: tuple[int, int]) -> UInt8[Tensor, "b 3 _ _"]:
    if tuple(images.shape[2:]) == size:
        return images
    return torch.stack([image_to_tensor(fit_image(tensor_to_image(image), size)) for image in images])
