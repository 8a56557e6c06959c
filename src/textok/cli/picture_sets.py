"""Sets of pictures to judge as sets: any source, or an ADM ``.npz`` of samples."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from torch import Tensor

    from textok.data import DataConfig, Source
    from textok.evaluation.generation import NamedPictures

MAX_CAPTION_BYTES = 256 << 20

Captions = Mapping[str, str] | Sequence[str]
"""By key, or one a picture in order."""


@dataclass(frozen=True, kw_only=True)
class PictureSet:
    """Pictures of one size, in order.

    Attributes:
        name: the source, or the file.
        split: part of the source.
        size: height and width that every picture is resized and cropped to.
        stored: the source, or the pictures themselves of an ``.npz``.
        captions: instead of those of the source.
    """

    name: str
    split: str | None
    size: tuple[int, int]
    stored: "Source | UInt8[Tensor, 'n 3 h w']"
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
        """What a reader of the numbers must know."""
        from textok.data.files import fingerprint_files

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
        from torch import Tensor

        if self.captions is not None:
            return bool(self.captions)
        return not isinstance(self.stored, Tensor) and next(self.stored.captions(), None) is not None

    def batches(self, batch_size: int) -> Iterator["NamedPictures"]:
        """The pictures with their keys and captions; "" for none.

        Raises:
            ValueError: when the given captions do not fit the pictures.
        """
        from textok.evaluation.generation import NamedPictures

        place = 0
        for images, keys, captions in self._stored_batches(batch_size):
            if self.captions is not None:
                captions = _chosen(self.captions, keys, place)
            yield NamedPictures(images=images, keys=keys, captions=captions)
            place += len(keys)

    def _stored_batches(self, batch_size: int) -> Iterator[tuple["Tensor", list[str], list[str]]]:
        import torch
        from torch import Tensor

        from textok.data import EvalLoader

        if not isinstance(self.stored, Tensor):
            config = _config(self.name, self.split, self.size)
            for batch in EvalLoader(config, batch_size=batch_size, source=self.stored):
                yield batch.images, batch.keys, batch.captions
            return
        for places in torch.arange(len(self.stored)).split(batch_size):
            keys = [str(place) for place in places.tolist()]
            yield _fitted(self.stored[places], self.size), keys, [""] * len(keys)


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
    from textok.data.images import DRAWN_SIZE, stored_size
    from textok.evaluation.adm import read_adm

    if not name.endswith(".npz"):
        source = _config(name, split, (1, 1)).open()
        picture = source.read(0).image
        size = size or (stored_size(picture) if isinstance(picture, bytes) else DRAWN_SIZE)
        return PictureSet(name=name, split=split, size=size, stored=source, captions=captions)
    if split is not None:
        raise ValueError(f"{name}: split is {split!r}; expected none: an .npz file has no splits")
    found = read_adm(name).pictures
    if found is None:
        raise ValueError(f"{name}: holds mean and covariance only; expected pictures (arr_0)")
    return of_pictures(name, found, size=size, captions=captions)


def of_pictures(
    name: str,
    pictures: "UInt8[Tensor, 'n 3 h w']",
    *,
    size: tuple[int, int] | None = None,
    captions: Captions | None = None,
) -> PictureSet:
    """The pictures of the file ``name``, at their own size when it is None."""
    height, width = pictures.shape[2:]
    return PictureSet(name=name, split=None, size=size or (height, width), stored=pictures, captions=captions)


def read_captions_file(file: Path) -> Captions:
    """Captions by key (a JSON object) or in order (a JSON list).

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for anything else.
    """
    if file.stat().st_size > MAX_CAPTION_BYTES:
        raise ValueError(f"{file}: over the limit of {MAX_CAPTION_BYTES:,} bytes for captions")
    expected = "expected a JSON object {key: caption}, or a list of captions in the order of the pictures"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not JSON: {error}; {expected}") from error
    texts = found.values() if isinstance(found, dict) else found
    if not isinstance(found, dict | list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{file}: got a JSON {type(found).__name__}; {expected}")
    return found


def _chosen(captions: Captions, keys: Sequence[str], place: int) -> list[str]:
    if not isinstance(captions, Mapping):
        return list(captions[place : place + len(keys)])
    missing = [key for key in keys if key not in captions]
    if missing:
        raise ValueError(f"captions: none for the picture {missing[0]!r}; expected one for every key")
    return [captions[key] for key in keys]


def _config(name: str, split: str | None, size: tuple[int, int]) -> "DataConfig":
    from textok.data import DataConfig

    return DataConfig(source=name, split=split, size=size, require_captions=False)


def _fitted(images: "Tensor", size: tuple[int, int]) -> "Tensor":
    import torch

    from textok.data import fit_image, image_to_tensor, tensor_to_image

    if tuple(images.shape[2:]) == size:
        return images
    return torch.stack([image_to_tensor(fit_image(tensor_to_image(image), size)) for image in images])
