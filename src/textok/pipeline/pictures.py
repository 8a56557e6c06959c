"""Whatever a caller has as pictures, made into uint8 (3, h, w) tensors, and the way back."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from textok.data.images import (
    DEFAULT_MAX_PIXELS,
    check_pixels,
    fit_image,
    image_to_tensor,
    tensor_to_image,
    to_rgb,
)
from textok.pixels import to_uint8
from textok.writing import replacing

Picture = Image.Image | np.ndarray | Tensor
Size = tuple[int, int]
CONVERT = "convert 0..255 by .to(torch.uint8), 0..1 by 2 * x - 1"


def as_pictures(images: Picture | Sequence[Picture], *, size: Size | None) -> UInt8[Tensor, "b 3 h w"]:
    """Pictures of any kind as one uint8 batch.

    Args:
        images: one picture or many: PIL images of any mode; uint8 arrays (h, w), (h, w, 3 or 4) or
            (b, h, w, 3 or 4); uint8 tensors (3, h, w) or (b, 3, h, w); float tensors of those shapes in
            [-1, 1], which are rounded to 8 bits, as every picture outside the models is.
        size: (height, width) to resize and centre-crop to; None keeps the pictures' own, the same for all.

    Raises:
        ValueError: for another shape, number type or value range (names the picture), or unequal sizes.
    """
    pictures = [picture for item in _listed(images) for picture in _split(item)]
    if not pictures:
        raise ValueError("images: got none; expected at least one picture")
    pixels = [_as_uint8(picture, place, size=size) for place, picture in enumerate(pictures)]
    floats = [p for p in pictures if isinstance(p, Tensor) and p.is_floating_point()]
    if floats and all(float(p.min()) >= 0 for p in floats):
        # Legal, yet more often pictures in [0, 1], which would come out pale: worth a word, not a refusal.
        warnings.warn(
            f"images: no float value is below 0, and they are read as [-1, 1]; {CONVERT}", stacklevel=3
        )
    sizes = {tuple(p.shape[1:]) for p in pixels}
    if len(sizes) > 1:
        raise ValueError(
            f"images: got {len(sizes)} sizes, such as {sorted(sizes)[:3]}; keep_size wants one size a call"
        )
    return torch.stack(pixels)


def _listed(images: Picture | Sequence[Picture]) -> Sequence[Picture]:
    return [images] if isinstance(images, Picture) else images


def _split(item: Picture) -> Sequence[Picture]:
    return list(item) if isinstance(item, Tensor | np.ndarray) and item.ndim == 4 else [item]


def _as_uint8(picture: Picture, place: int, *, size: Size | None) -> UInt8[Tensor, "3 h w"]:
    if isinstance(picture, Tensor):
        pixels = _from_tensor(picture, place)
        if size is None or size == tuple(pixels.shape[1:]):
            return pixels
        return image_to_tensor(fit_image(tensor_to_image(pixels), size))
    image = picture if isinstance(picture, Image.Image) else _from_array(picture, place)
    check_pixels(image, DEFAULT_MAX_PIXELS)  # an image that was opened is not decoded before it is used
    return image_to_tensor(to_rgb(ImageOps.exif_transpose(image)) if size is None else fit_image(image, size))


def _from_tensor(picture: Tensor, place: int) -> UInt8[Tensor, "3 h w"]:
    if picture.ndim != 3 or picture.shape[0] != 3 or 0 in picture.shape:
        raise ValueError(f"images[{place}]: got a tensor of shape {tuple(picture.shape)}; expected (3, h, w)")
    if picture.dtype == torch.uint8:
        return picture.cpu()
    _check_range(picture, place)
    return to_uint8(picture.cpu())


def _from_array(array: object, place: int) -> Image.Image:
    if not isinstance(array, np.ndarray):
        raise ValueError(
            f"images[{place}]: got {type(array).__name__}; expected a PIL image, an array or a tensor"
        )
    channels = array.shape[2] if array.ndim == 3 else None
    if (
        array.dtype != np.uint8
        or array.ndim not in (2, 3)
        or channels not in (None, 3, 4)
        or 0 in array.shape
    ):
        raise ValueError(
            f"images[{place}]: got an array of {array.dtype}, shape {array.shape};"
            " expected uint8 (h, w), (h, w, 3) or (h, w, 4); pass floats as a tensor (3, h, w)"
        )
    return Image.fromarray(array)


def _check_range(picture: Tensor, place: int) -> None:
    if not picture.is_floating_point():
        raise ValueError(f"images[{place}]: got {picture.dtype}; expected uint8, or floats in [-1, 1]")
    if not bool(torch.isfinite(picture).all()):
        raise ValueError(f"images[{place}]: found NaN or infinite values; expected floats in [-1, 1]")
    low, high = float(picture.min()), float(picture.max())
    if low < -1 or high > 1:
        raise ValueError(
            f"images[{place}]: found values from {low:.4g} to {high:.4g};"
            f" expected floats in [-1, 1]: {CONVERT}"
        )


def save_png(image: Image.Image, path: str | Path) -> Path:
    """Write a PNG, whole or not at all, with the text entries of ``image.info`` inside.

    A generated picture says there how it was made: ``PIL.Image.open(path).info["textok"]`` is JSON.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    notes = PngInfo()
    for name, value in image.info.items():
        if isinstance(value, str):
            notes.add_itxt(str(name), value)
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=notes)
    return path
