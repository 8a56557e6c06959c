"""Picture grids show the very pixels they are about."""

import numpy as np
import torch
from PIL import Image

from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.pages.grids import reconstruction_grid, save_picture


def toy(count=2, size=128):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    captions = ("a very long caption " * 30, "short")[:count]
    return CaptionedPictures(split="toy", images=images, captions=captions, keys=("a", "b")[:count])


def contains(sheet, pixels, row):
    """Whether the first pixel rows of a picture stand anywhere in row ``row`` of the sheet."""
    top = 56 + row * (128 + 40)
    strip = np.asarray(sheet)[top : top + 2]
    patch = pixels[:, :2].permute(1, 2, 0).numpy()
    windows = np.lib.stride_tricks.sliding_window_view(strip, patch.shape)[0, :, 0]
    return bool((windows == patch).all(axis=(1, 2, 3)).any())


def test_every_picture_is_on_the_sheet_and_captions_stay_inside(tmp_path):
    pictures = toy()
    outputs = {
        (c, k): 255 - pictures.images // (k + i) for k in (2, 8) for i, c in enumerate(("none", "right"))
    }
    sheet = reconstruction_grid(pictures, outputs)
    for images in (pictures.images, *outputs.values()):
        assert all(contains(sheet, image, row) for row, image in enumerate(images))
    assert (np.asarray(sheet)[:, -10:] == 255).all(), "something runs into the right margin"
    saved = save_picture(sheet, tmp_path / "grids" / "step-1.png")
    with Image.open(saved) as image:
        assert image.size == sheet.size and image.format == "PNG"
    assert [p.name for p in saved.parent.iterdir()] == ["step-1.png"]


def test_columns_go_by_budget_then_caption():
    pictures = toy(count=1)
    order = [("right", 2), ("none", 2), ("wrong", 2), ("right", 16), ("none", 16), ("wrong", 16)]
    outputs = {cell: torch.full_like(pictures.images, 20 * i) for i, cell in enumerate(order)}
    sheet = np.asarray(reconstruction_grid(pictures, dict(reversed(outputs.items()))))
    row = sheet[56 + 60, 16 + 128 :, 0]
    starts = [int(np.flatnonzero(row == 20 * i)[0]) for i in range(1, 6)]
    assert starts == sorted(starts) and starts[2] - starts[1] > starts[1] - starts[0]


def test_small_pictures_are_enlarged_with_sharp_pixels():
    pictures = toy(count=1, size=32)
    sheet = np.asarray(reconstruction_grid(pictures, {("none", 1): pictures.images}))
    assert (sheet[56:60, 16:20] == pictures.images[0, :, 0, 0].numpy()).all()
