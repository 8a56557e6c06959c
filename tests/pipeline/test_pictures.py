"""Every way to hand in pictures gives the same pixels, and a wrong one a clear error."""

import warnings
from pathlib import Path

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
        (torch.full((3, 8, 8), 255.0), r"images\[0\]: got values from 255 to 255.*convert 0..255"),
        (torch.full((3, 8, 8), -1.01), r"images\[0\]: got values from -1.01"),
        (torch.full((3, 8, 8), float("nan")), r"images\[0\]: got values from nan"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), r"images\[0\]: got torch.int64"),
        (torch.zeros(8, 8, 3), r"images\[0\]: got a tensor of shape \(8, 8, 3\)"),
        (torch.zeros(1, 3, 0, 8), r"images\[0\]"),
        (np.full((8, 8, 3), 1.5), r"images\[0\]: got values from 1.5"),
        (np.zeros((8, 8, 3), dtype=np.int64), r"images\[0\]: got an array of int64"),
        (np.zeros((3, 8, 8), dtype=np.uint8), r"images\[0\]: got an array of shape \(3, 8, 8\)"),
        ([], "images: got none"),
        ([torch.zeros(3, 8, 8).byte(), torch.zeros(3, 8, 16).byte()], "images: got 2 sizes"),
        (__file__, r"images\[0\]: got a file"),
    ],
)
def test_a_wrong_picture_is_refused(images: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_pictures(images, size=None)


def test_files_are_read_by_path_and_open(pixels: torch.Tensor, tmp_path: Path) -> None:
    file = tmp_path / "a picture.png"
    Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).save(file)
    with open(file, "rb") as stream:
        found = as_pictures([str(file), file, stream], size=None)
    assert torch.equal(found, pixels[:1].expand(3, -1, -1, -1))
    assert torch.equal(as_pictures(str(file), size=None), pixels[:1])
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        as_pictures(tmp_path / "none.png", size=None)


def test_gray_and_transparency_of_arrays_and_tensors(pixels: torch.Tensor) -> None:
    gray = pixels[0, :1]
    kinds = [
        gray[0].numpy(),
        gray.permute(1, 2, 0).numpy(),
        gray,
        gray[0].numpy() / 255,
        to_unit(pixels)[0, :1],
    ]
    for picture in kinds:
        assert torch.equal(as_pictures(picture, size=None)[0], gray.expand(3, -1, -1))
    clear = torch.zeros(4, 8, 8, dtype=torch.uint8)
    for picture in (clear, clear.permute(1, 2, 0).numpy()):
        assert bool((as_pictures(picture, size=None) == 255).all())


def test_float_arrays_are_from_0_to_1_and_tensors_from_minus_1_to_1(pixels: torch.Tensor) -> None:
    array = pixels[0].permute(1, 2, 0).numpy()
    for floats in (array / 255, (array / 255).astype(np.float32)):
        assert torch.equal(as_pictures(floats, size=None)[0], pixels[0])


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
