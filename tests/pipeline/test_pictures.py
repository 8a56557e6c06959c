"""Every way to hand in pictures gives the same pixels, and a wrong one a clear error."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from textok.pipeline.pictures import as_pictures
from textok.pixels import to_unit


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 16, 24), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_all_kinds_give_the_same_pixels(pixels: torch.Tensor) -> None:
    arrays = pixels.permute(0, 2, 3, 1).numpy()
    kinds = {
        "uint8 batch": pixels,
        "list of uint8": list(pixels),
        "float batch": to_unit(pixels),
        "list of float": list(to_unit(pixels)),
        "half precision": to_unit(pixels).half(),
        "array batch": arrays,
        "arrays": list(arrays),
        "pil": [Image.fromarray(array) for array in arrays],
        "mixed": [Image.fromarray(arrays[0]), to_unit(pixels)[1]],
    }
    for name, images in kinds.items():
        found = as_pictures(images, size=None)
        assert found.dtype == torch.uint8 and torch.equal(found, pixels), name


def test_one_picture_is_a_batch_of_one(pixels: torch.Tensor) -> None:
    image = Image.fromarray(pixels[0].permute(1, 2, 0).numpy())
    for one in (pixels[0], image, np.asarray(image)):
        assert torch.equal(as_pictures(one, size=None), pixels[:1])


def test_transparency_goes_on_white_and_orientation_is_honoured() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert bool((as_pictures(clear, size=None) == 255).all())
    lying = Image.new("RGB", (16, 8))
    lying.getexif()[0x0112] = 6
    assert as_pictures(lying, size=None).shape == (1, 3, 16, 8)


def test_pictures_are_resized_alike(pixels: torch.Tensor) -> None:
    image = Image.fromarray(pixels[0].permute(1, 2, 0).numpy())
    found = as_pictures([image, pixels[0], to_unit(pixels[0])], size=(8, 8))
    assert found.shape == (3, 3, 8, 8)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            torch.full((3, 8, 8), 255.0),
            "found values from 255 to 255; expected floats in .-1, 1.: convert 0..255",
        ),
        (torch.full((3, 8, 8), -1.01), "found values from -1.01"),
        (torch.full((3, 8, 8), float("nan")), "found NaN or infinite"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "got torch.int64; expected uint8"),
        (torch.zeros(8, 8, 3), r"shape \(8, 8, 3\); expected \(3, h, w\)"),
        (torch.zeros(1, 3, 0, 8), "expected"),
        (np.zeros((8, 8, 3), dtype=np.float32), "array of float32"),
        (np.zeros((3, 8, 8), dtype=np.uint8), r"shape \(3, 8, 8\)"),
        ([], "got none"),
        ([torch.zeros(3, 8, 8).byte(), torch.zeros(3, 8, 16).byte()], "got 2 sizes"),
    ],
)
def test_a_wrong_picture_is_told(images: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_pictures(images, size=None)


def test_the_error_names_the_picture() -> None:
    with pytest.raises(ValueError, match=r"images\[1\]"):
        as_pictures([torch.zeros(3, 8, 8).byte(), torch.full((3, 8, 8), 2.0)], size=None)


def test_floats_without_a_negative_value_get_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"read as \[-1, 1\]"):
        as_pictures(torch.rand(3, 8, 8), size=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_pictures([torch.ones(3, 8, 8), -torch.ones(3, 8, 8)], size=None)


def test_the_callers_tensor_is_left_as_it_was() -> None:
    images = torch.rand(3, 8, 8) * 2 - 1
    copy = images.clone()
    as_pictures(images, size=(4, 4))
    assert torch.equal(images, copy)
