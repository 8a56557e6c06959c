"""Whatever a caller has as pictures, made into uint8 (3, h, w) tensors, and the way back."""

import warnings
from collections.abc import Sequence
from os import PathLike
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from textok.data.images import DEFAULT_MAX_PIXELS, check_pixels, fit_image, formats, image_to_tensor, to_rgb
from textok.pixels import to_uint8

Picture = Image.Image | np.ndarray | Tensor | str | PathLike[str] | BinaryIO
Size = tuple[int, int]
CONVERT = "convert 0..255 by .to(torch.uint8), 0..1 by 2 * x - 1"


def as_pictures(images: Picture | Sequence[Picture], *, size: Size | None) -> UInt8[Tensor, "b 3 h w"]:
    """Pictures of any kind as one uint8 batch.

    Args:
        images: one picture or many, of these kinds, also mixed:

            - a file: its path as a string or ``pathlib.Path``, or an open binary file;
            - a PIL image of any mode; transparency is put on white;
            - a NumPy array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), or (b, h, w, c), of uint8, or of floats
              in [0, 1];
            - a tensor (3, h, w), also with 1 or 4 channels, or (b, c, h, w), of uint8, or of floats in
              [-1, 1], as the models have them.

            Floats are rounded to 8 bits, as every picture outside the models is.
        size: (height, width) to resize and centre-crop to; None keeps the pictures' own, the same for all.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for another type, shape, dtype or value range (names the picture), or unequal sizes.
    """
    items = images if isinstance(images, Sequence) and not isinstance(images, str) else [images]
    pictures: list[Picture] = []
    for item in items:
        pictures.extend(item if isinstance(item, Tensor | np.ndarray) and item.ndim == 4 else [item])
    if not pictures:
        raise ValueError("images: got none, expected at least one picture")
    pixels = [_as_uint8(picture, f"images[{place}]", size=size) for place, picture in enumerate(pictures)]
    floats = [p for p in pictures if isinstance(p, Tensor) and p.is_floating_point()]
    if floats and all(float(p.min()) >= 0 for p in floats):
        # Legal, yet more often pictures in [0, 1], which would come out pale: worth a word, not a refusal.
        warnings.warn(
            f"images: no float value is below 0, and tensors are read as [-1, 1]; {CONVERT}", stacklevel=3
        )
    sizes = {tuple(p.shape[1:]) for p in pixels}
    if len(sizes) > 1:
        raise ValueError(
            f"images: got {len(sizes)} sizes, such as {sorted(sizes)[:3]}, expected one with keep_size; "
            "encode those of one size at a time"
        )
    return torch.stack(pixels)


def _as_uint8(picture: Picture, name: str, *, size: Size | None) -> UInt8[Tensor, "3 h w"]:
    if isinstance(picture, Tensor):
        pixels = _from_tensor(picture, name)
        if len(pixels) == 3 and size in (None, tuple(pixels.shape[1:])):
            return pixels
        picture = pixels.permute(1, 2, 0).numpy()
    image = picture if isinstance(picture, Image.Image) else _as_image(picture, name)
    check_pixels(image, DEFAULT_MAX_PIXELS)  # an image that was opened is not decoded before it is used
    return image_to_tensor(to_rgb(ImageOps.exif_transpose(image)) if size is None else fit_image(image, size))


def _from_tensor(picture: Tensor, name: str) -> UInt8[Tensor, "c h w"]:
    if picture.ndim != 3 or picture.shape[0] not in (1, 3, 4) or 0 in picture.shape:
        raise ValueError(f"{name}: got a tensor of shape {tuple(picture.shape)}, expected (3, h, w)")
    if picture.dtype == torch.uint8:
        return picture.cpu()
    if not picture.is_floating_point():
        raise ValueError(f"{name}: got {picture.dtype}, expected uint8, or floats in [-1, 1]")
    _check_range(float(picture.min()), float(picture.max()), -1, name, hint=f"; {CONVERT}")
    return to_uint8(picture.cpu())


def _as_image(picture: Any, name: str) -> Image.Image:
    if isinstance(picture, np.ndarray):
        return Image.fromarray(_from_array(picture, name))
    if not isinstance(picture, str | PathLike) and not hasattr(picture, "read"):
        raise ValueError(
            f"{name}: got {type(picture).__name__}, expected a path, an open file, a PIL image, an array or a tensor"
        )
    try:
        return Image.open(picture, formats=formats())
    except UnidentifiedImageError as error:
        raise ValueError(f"{name}: got a file that Pillow does not read as a picture") from error


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    channels = array.shape[2] if array.ndim == 3 else 1
    floats = array.dtype.kind == "f"
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(
            f"{name}: got an array of shape {array.shape}, expected (h, w), (h, w, 3) or (h, w, 4)"
        )
    if array.dtype != np.uint8 and not floats:
        raise ValueError(f"{name}: got an array of {array.dtype}, expected uint8, or floats in [0, 1]")
    if floats:
        _check_range(float(array.min()), float(array.max()), 0, name, hint="")
        array = np.rint(array * 255).astype(np.uint8)
    return array[..., 0] if array.ndim == 3 and channels == 1 else array


def _check_range(low: float, high: float, least: int, name: str, *, hint: str) -> None:
    if not least <= low <= high <= 1:  # also where one is not a number
        raise ValueError(
            f"{name}: got values from {low:.4g} to {high:.4g}, expected floats in [{least}, 1]{hint}"
        )
