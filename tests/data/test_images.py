import io
import struct
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from textok.data import decode_image, fit_image, image_to_tensor, tensor_to_image
from textok.data.images import ImageError, to_rgb
from textok.pixels import to_uint8, to_unit


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def color(data: bytes) -> list[int]:
    """The one color of a flat picture."""
    pixels = decode_image(data, (4, 6))
    assert pixels.shape == (3, 4, 6) and pixels.dtype == torch.uint8 and pixels.is_contiguous()
    assert (pixels == pixels[:, :1, :1]).all()
    return pixels[:, 0, 0].tolist()


def test_unit_range_and_back_is_exact():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).repeat(3, 1, 1)
    unit = to_unit(pixels)
    assert unit.min() == -1 and unit.max() == 1
    assert torch.equal(to_uint8(unit), pixels)


def test_values_outside_are_clamped():
    assert to_uint8(torch.tensor([-7.0, 0.0, 7.0]).expand(3, 1, 3))[0, 0].tolist() == [0, 128, 255]


def test_tensor_and_image_round_trip():
    pixels = torch.randint(0, 256, (3, 5, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert torch.equal(image_to_tensor(tensor_to_image(pixels)), pixels)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_formats_keep_a_flat_color(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert color(encode(Image.new("RGB", (8, 8), (10, 200, 30)), kind, **options)) == [10, 200, 30]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGBA", (8, 8), (255, 0, 0, 0)), [255, 255, 255]),
        (Image.new("RGBA", (8, 8), (0, 0, 255, 51)), [204, 204, 255]),
        (Image.new("LA", (8, 8), (0, 102)), [153, 153, 153]),
        (Image.new("L", (8, 8), 77), [77, 77, 77]),
        (Image.new("1", (8, 8), 1), [255, 255, 255]),
        (Image.fromarray(np.full((8, 8), 257 * 100, dtype=np.uint16)), [100, 100, 100]),
        (Image.fromarray(np.full((8, 8), 65535, dtype=np.uint16)), [255, 255, 255]),
    ],
)
def test_png_modes_give_exact_colors(image, expected):
    assert color(encode(image)) == expected


def test_palette_with_and_without_transparency():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 9, 80, 170])
    assert color(encode(image)) == [9, 80, 170]
    assert color(encode(image, transparency=1)) == [255, 255, 255]


def test_transparent_color_of_rgb_and_deep_gray():
    assert color(encode(Image.new("RGB", (8, 8), (1, 2, 3)), transparency=(1, 2, 3))) == [255] * 3
    deep = Image.fromarray(np.full((8, 8), 5000, dtype=np.uint16))
    deep.info["transparency"] = 5000
    assert to_rgb(deep).getpixel((0, 0)) == (255, 255, 255)


def test_float_and_32_bit_gray_are_scaled_not_clipped():
    assert color(encode(Image.fromarray(np.full((8, 8), 0.2, dtype=np.float32)), "TIFF")) == [51] * 3
    assert color(encode(Image.fromarray(np.full((8, 8), 257 * 9, dtype=np.int32)), "TIFF")) == [9] * 3
    with pytest.raises(ImageError, match=r"0\.\.1"):
        color(encode(Image.fromarray(np.full((8, 8), 7.0, dtype=np.float32)), "TIFF"))
    with pytest.raises(ImageError, match=r"0\.\.65535"):
        color(encode(Image.fromarray(np.full((8, 8), 70000, dtype=np.int32)), "TIFF"))


def test_cmyk():
    assert color(encode(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "TIFF")) == [0, 255, 255]


def corners(pixels: torch.Tensor) -> list[int]:
    return [int(pixels[0, y, x]) for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))]


# Where EXIF orientation n puts the stored corners (top left, top right, bottom left, bottom right).
ORIENTATIONS = {1: "abcd", 2: "badc", 3: "dcba", 4: "cdab", 5: "acbd", 6: "cadb", 7: "dbca", 8: "bdac"}


@pytest.mark.parametrize(("orientation", "expected"), ORIENTATIONS.items())
def test_exif_orientation(orientation, expected):
    values = dict(zip("abcd", (0, 80, 160, 240), strict=True))
    quarters = np.array([[0, 80], [160, 240]], dtype=np.uint8).repeat(8, 0).repeat(12, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(quarters).convert("RGB"), exif=exif)
    size = (16, 24) if orientation < 5 else (24, 16)
    assert corners(decode_image(data, size)) == [values[letter] for letter in expected]


def test_damaged_exif_is_no_orientation():
    data = encode(Image.new("RGB", (8, 8), (1, 2, 3)), exif=b"Exif\0\0" + struct.pack("<2sH", b"XX", 9))
    assert color(data) == [1, 2, 3]


def test_resize_covers_and_crops_the_centre():
    stripes = np.zeros((8, 24, 3), dtype=np.uint8)
    stripes[:, 8:16] = 255
    assert (decode_image(encode(Image.fromarray(stripes)), (8, 8)) == 255).all()
    upright = Image.fromarray(stripes.transpose(1, 0, 2).copy())
    assert (image_to_tensor(fit_image(upright, (8, 8))) == 255).all()


def test_resize_is_antialiased():
    board = np.indices((128, 128)).sum(0) % 2 * 255
    small = decode_image(encode(Image.fromarray(board.astype(np.uint8))), (16, 16))
    assert (small.int() - 128).abs().max() < 16


def test_large_jpeg_is_close_to_its_full_decoding():
    yy, xx = np.mgrid[0:640, 0:960]
    image = Image.fromarray(np.stack([yy * 255 // 640, xx * 255 // 960, 128 + 0 * xx], -1).astype(np.uint8))
    data = encode(image, "JPEG", quality=95)
    reduced = decode_image(data, (64, 64)).int()
    full = image_to_tensor(fit_image(Image.open(io.BytesIO(data)), (64, 64))).int()
    assert (reduced - full).abs().max() <= 3


def test_bomb_is_refused_before_decoding(monkeypatch):
    data = encode(Image.new("RGB", (300, 200)))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("pixels were decoded"))
    with pytest.raises(ImageError, match=r"300 x 200.*59,999.*max_pixels"):
        decode_image(data, (8, 8), max_pixels=59_999)


def test_pillows_own_limit_becomes_our_error(monkeypatch):
    data = encode(Image.new("RGB", (30, 20)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    with pytest.raises(ImageError, match="pixels"):
        decode_image(data, (8, 8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # only a warning for Pillow: our limit decides
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(data, (8, 8)).shape == (3, 8, 8)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
@settings(deadline=None)
@given(share=st.floats(0, 0.9))
@pytest.mark.slow
def test_truncated_pictures_are_errors(kind, share):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), kind)
    with pytest.raises(ImageError):
        decode_image(data[: int(len(data) * share)], (8, 8))


def test_page_formats_are_not_opened():
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    with pytest.raises(ImageError, match="unreadable"):
        decode_image(postscript, (8, 8))
