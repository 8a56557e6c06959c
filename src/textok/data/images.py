"""The one door for pictures: encoded bytes to RGB uint8 tensors of one size and back.

Pixels are uint8 (0..255) everywhere outside the models, and [-1, 1] inside them.
"""

import io
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from textok.data.files import PAGE_MARK
from textok.writing import foreign_content, replacing

Resample = Literal["lanczos", "bicubic"]

DEFAULT_MAX_PIXELS = 64_000_000
DRAWN_SIZE = (128, 128)
"""Height and width of pictures that are drawn and not stored, where none is asked for."""
# All that Pillow reads in-process as plain pixels: never EPS (Ghostscript), WMF and other page or data formats.
_NO_PICTURES = frozenset(
    ["EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "FITS", "MCIDAS", "IPTC", "SPIDER", "XVTHUMB", "IMT"]
)

_FILTERS = {"lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC}
# How to turn a picture by the number of its orientation.
_TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
    8: "ROTATE_90",
}  # fmt: skip
# A JPEG is decoded at a reduced scale only while that leaves this many times the asked pixels a side.
_DRAFT_MARGIN = 2
_TERMINAL = threading.Lock()  # stderr is one for all threads


class ImageError(ValueError):
    """A picture that cannot be decoded, or is over the pixel limit."""


def decode_image(
    data: bytes,
    size: tuple[int, int],
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    resample: Resample = "lanczos",
) -> UInt8[Tensor, "3 h w"]:
    """Decode an encoded picture to RGB, resized so that it covers ``size`` (height, width) and cut to its centre.

    The first frame of an animation is taken. ``ImageError`` when it is unreadable, truncated, or has a stored width x
    height over ``max_pixels``, which is checked before any pixel is decoded.
    """
    with _open(data, size, max_pixels) as image:
        return image_to_tensor(fit_image(image, size, resample=resample))


def decode_whole(data: bytes, *, side: int, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """An encoded picture as upright RGB that is not cut, its longer side at most ``side``; errors as decode_image."""
    with _open(data, (side, side), max_pixels) as image:
        picture = to_rgb(_upright(_in_srgb(image))).copy()
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        return picture


def stored_size(data: bytes) -> tuple[int, int]:
    """Height and width of an encoded picture, upright, by its header only; ``ImageError`` when that is unreadable."""
    with _open(data) as image:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return image.size if turned else image.size[::-1]


def is_animated(data: bytes) -> bool:
    """Whether it has more frames than the first, which is the one that is read; ``ImageError`` when unreadable."""
    with _open(data) as image:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))


def check_pixels(image: Image.Image, max_pixels: int) -> None:
    """Raise :class:`ImageError` when the header of ``image`` states more than ``max_pixels`` pixels."""
    width, height = image.size
    if not width * height:
        raise ImageError(f"{width} x {height} pixels; expected at least one")
    if width * height > max_pixels:
        raise ImageError(
            f"{width} x {height} = {width * height:,} pixels, over the limit of {max_pixels:,} (max_pixels)"
        )


def fit_image(image: Image.Image, size: tuple[int, int], *, resample: Resample = "lanczos") -> Image.Image:
    """Any Pillow image as RGB of ``size`` (height, width): upright, on white, covering it, centre crop."""
    height, width = size
    upright = _upright(_in_srgb(image))
    return ImageOps.fit(to_rgb(upright), (width, height), method=_FILTERS[resample])


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image as 8-bit RGB: transparency on white, 16-bit and float gray scaled to 0..255."""
    if image.mode.startswith(("I", "F")):
        return _deep_gray_to_rgb(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def image_to_tensor(image: Image.Image) -> UInt8[Tensor, "3 h w"]:
    """An RGB Pillow image as uint8 pixels."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def tensor_to_image(pixels: UInt8[Tensor, "3 h w"]) -> Image.Image:
    """uint8 pixels as an RGB Pillow image."""
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def save_png(image: Image.Image, path: str | Path, *, page: bool = False) -> Path:
    """Write a PNG, whole or not at all; the arguments are those of :func:`encode_png`."""
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(encode_png(image, page=page))
    return Path(path)


def encode_png(image: Image.Image, *, page: bool = False) -> bytes:
    """A PNG file with the text entries of ``image.info`` inside; a ``page`` is never read as a picture of a data set.

    A generated picture says there how it was made: ``PIL.Image.open(path).info["textok"]`` is JSON.
    """
    notes, stream = PngInfo(), io.BytesIO()
    notes.add_text("Software", "open-textok")
    if page:
        notes.add_text(PAGE_MARK, "drawn for people, no picture of a data set")
    for name, value in image.info.items():
        if isinstance(value, str) and name not in ("Software", PAGE_MARK):
            notes.add_itxt(str(name), value)
    image.save(stream, format="PNG", pnginfo=notes, optimize=page)
    return stream.getvalue()


@lru_cache
def formats() -> tuple[str, ...]:
    """Names of the formats that are read, the usual ones first."""
    Image.preinit()
    usual = list(Image.OPEN)
    Image.init()
    return tuple(name for name in dict.fromkeys([*usual, *Image.OPEN]) if name not in _NO_PICTURES)


@contextmanager
def _open(
    data: bytes, size: tuple[int, int] | None = None, max_pixels: int | None = None
) -> Iterator[Image.Image]:
    """The picture before it is decoded, which may be at a reduced scale that covers ``size``."""
    if not data:
        raise ImageError("unreadable picture: the file is empty")
    foreign = foreign_content(data[:512])
    if foreign is not None:
        raise ImageError(f"unreadable picture: {foreign}")
    try:
        with warnings.catch_warnings(), _silent_decoder(data):
            # Our own limit decides, and a damaged EXIF block does not make a picture unusable.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=formats()) as image:
                if PAGE_MARK in image.info:
                    raise ImageError("a grid or report that textok drew, no picture of a data set")
                if max_pixels is not None:
                    check_pixels(image, max_pixels)
                if size is not None:
                    side = _DRAFT_MARGIN * max(size)  # both sides alike: the picture may lie on its side
                    image.draft(None, (side, side))  # a no-op except for JPEG
                yield image
    except ImageError:
        raise
    except UnidentifiedImageError as error:  # its message holds a memory address
        raise ImageError(f"unreadable picture: {_unknown_format(data)}") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"too many pixels for Pillow: {error}") from error
    except Exception as error:  # decoders raise nearly anything on broken bytes
        raise ImageError(f"unreadable picture: {type(error).__name__}: {error}") from error


def _unknown_format(data: bytes) -> str:
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
        return "HEIC, which Pillow reads only with pillow-heif; convert it to JPEG"
    if data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "JPEG XL, which Pillow does not read; convert it to PNG"
    return "of no format that Pillow reads as a picture"


@contextmanager
def _silent_decoder(data: bytes) -> Iterator[None]:
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        yield
        return
    with _TERMINAL, open(os.devnull, "w") as nowhere:
        sys.stderr.flush()
        terminal = os.dup(2)
        try:
            os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def _in_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK", "L", "LA", "P", "PA", "LAB"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return image if _is_srgb(source) else _converted(image, source)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image


def _is_srgb(profile: Any) -> bool:
    names = ("red_colorant", "green_colorant", "blue_colorant")
    pairs = [(getattr(profile.profile, name), getattr(_srgb().profile, name)) for name in names]
    same = all(mine and np.allclose(mine[0], other[0], atol=2e-3) for mine, other in pairs)
    return same and "sRGB" in ImageCms.getProfileDescription(profile)


@lru_cache
def _srgb() -> Any:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _converted(image: Image.Image, source: Any) -> Image.Image:
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    plain = {"RGBA": "RGB", "P": "RGB", "PA": "RGB", "LA": "L"}.get(image.mode, image.mode)
    pixels = image.convert(plain) if plain != image.mode else image
    made = ImageCms.profileToProfile(pixels, source, _srgb(), outputMode="RGB")
    if made is None:
        raise ValueError("no conversion")
    if alpha is not None:
        made.putalpha(alpha)
    exif = image.getexif()
    if exif:
        made.getexif().update(exif)
    return made


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a damaged EXIF block says nothing about orientation
        return image
    return image if turn is None else image.transpose(Image.Transpose[turn])


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
