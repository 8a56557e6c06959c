"""Pictures: encoded bytes to RGB uint8 tensors of one size and back, and the two pixel ranges.

Pixels are uint8 (0..255) everywhere outside the models, and [-1, 1] inside them.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

Resample = Literal["lanczos", "bicubic"]

DEFAULT_MAX_PIXELS = 64_000_000
DRAWN_SIZE = (128, 128)
"""Height and width of pictures that are drawn and not stored, where none is asked for."""
# Only decoders that run in-process on plain pixels: never EPS (Ghostscript) or other page formats.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")

_FILTERS = {"lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC}
_ORIENTATION_TAG = 0x0112
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# A JPEG is decoded at a reduced scale only while that leaves this many times the asked pixels a side.
_DRAFT_MARGIN = 2


class ImageError(ValueError):
    """A picture that cannot be decoded, or is over the pixel limit."""


def decode_image(
    data: bytes,
    size: tuple[int, int],
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    resample: Resample = "lanczos",
) -> UInt8[Tensor, "3 h w"]:
    """Decode an encoded picture to RGB, resized so that it covers ``size`` and cut to its centre.

    Args:
        data: the encoded picture; the first frame of an animation is taken.
        size: (height, width) in pixels.
        max_pixels: limit on the stored width x height, checked before any pixel is decoded.
        resample: antialiased filter.

    Raises:
        ImageError: when the picture is unreadable, truncated, or over the limit.
    """
    try:
        with _open(data) as image:
            check_pixels(image, max_pixels)
            _reduce_on_decoding(image, size)
            return image_to_tensor(fit_image(image, size, resample=resample))
    except ImageError:
        raise
    except UnidentifiedImageError as error:  # its message holds a memory address
        raise ImageError(f"unreadable picture: none of the formats {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"too many pixels for Pillow: {error}") from error
    except Exception as error:  # decoders raise nearly anything on broken bytes
        raise ImageError(f"unreadable picture: {type(error).__name__}: {error}") from error


def stored_size(data: bytes) -> tuple[int, int]:
    """Height and width of an encoded picture, upright; reads its header only.

    Raises:
        ImageError: when it has none that can be read.
    """
    try:
        with _open(data) as image:
            turned = image.getexif().get(_ORIENTATION_TAG, 1) >= 5
            return image.size if turned else image.size[::-1]
    except Exception as error:
        raise ImageError(f"unreadable picture: none of the formats {', '.join(FORMATS)}") from error


def check_pixels(image: Image.Image, max_pixels: int) -> None:
    """Raise :class:`ImageError` when the header of ``image`` states more than ``max_pixels`` pixels."""
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"{width} x {height} = {width * height:,} pixels, over the limit of {max_pixels:,} (max_pixels)"
        )


def fit_image(image: Image.Image, size: tuple[int, int], *, resample: Resample = "lanczos") -> Image.Image:
    """Any Pillow image as RGB of ``size`` (height, width): upright, on white, covering it, centre crop."""
    height, width = size
    upright = _upright(image)
    return ImageOps.fit(to_rgb(upright), (width, height), method=_FILTERS[resample])


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image as 8-bit RGB: transparency on white, 16-bit and float gray scaled to 0..255."""
    if image.mode.startswith(("I", "F")):
        return _deep_gray_to_rgb(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    return image.convert("RGB")


def image_to_tensor(image: Image.Image) -> UInt8[Tensor, "3 h w"]:
    """An RGB Pillow image as uint8 pixels."""
    pixels = torch.from_numpy(np.array(image))
    return pixels.permute(2, 0, 1).contiguous()


def tensor_to_image(pixels: UInt8[Tensor, "3 h w"]) -> Image.Image:
    """uint8 pixels as an RGB Pillow image."""
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


@contextmanager
def _open(data: bytes) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        # Our own limit decides, and a damaged EXIF block does not make a picture unusable.
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            yield image


def _reduce_on_decoding(image: Image.Image, size: tuple[int, int]) -> None:
    side = _DRAFT_MARGIN * max(size)  # both sides alike: the picture may lie on its side
    image.draft(None, (side, side))  # a no-op except for JPEG


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a damaged EXIF block says nothing about orientation
        return image
    transpose = _TRANSPOSES.get(orientation)
    return image if transpose is None else image.transpose(transpose)


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def _deep_gray_to_rgb(image: Image.Image) -> Image.Image:
    # Pillow's own convert("L") clips these modes instead of scaling them.
    values = np.asarray(image).astype(np.float64)
    top, kind = (1.0, "floats in 0..1") if image.mode == "F" else (65535.0, "integers in 0..65535")
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > top:
        raise ImageError(f"mode {image.mode} with values {values.min():g}..{values.max():g}; expected {kind}")
    gray = np.rint(values * (255.0 / top)).astype(np.uint8)
    if "transparency" in image.info:
        gray[values == image.info["transparency"]] = 255
    return Image.fromarray(gray).convert("RGB")
