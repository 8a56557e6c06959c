"""Rates and distortions: sizes are those of files, worse pictures cost less, and the page draws every codec."""

import io
import re

import pytest
import torch
from PIL import Image

from rates.coding import FORMATS, RateJudge, Setting, classic, tokens_at
from rates.page import rate_curves, rate_page
from textok.data.images import tensor_to_image
from textok.evaluation.captioned import CaptionedPictures
from textok.objectives.quality import psnr_per_image
from textok.pipeline.image_tokenizer import ImageTokenizer
from tiny import TinyNetwork, tiny_model


@pytest.fixture(scope="module")
def drawings() -> CaptionedPictures:
    """Twenty smooth pictures."""
    coarse = torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images = (torch.nn.functional.interpolate(coarse, size=64, mode="bicubic") * 255).clamp(0, 255)
    captions = tuple(f"picture {i}" for i in range(20))
    return CaptionedPictures(split="toy", images=images.byte(), captions=captions, keys=captions)


@pytest.mark.parametrize("codec", list(FORMATS))
def test_more_bytes_are_better_pictures(codec: str, drawings: CaptionedPictures) -> None:
    few = classic(drawings.images, Setting(codec=codec, quality=5, side=32))
    many = classic(drawings.images, Setting(codec=codec, quality=80, side=64))
    assert few.sizes["bytes"] < many.sizes["bytes"] and few.images.shape == drawings.images.shape
    quality = [psnr_per_image(drawings.images, one.images).mean() for one in (few, many)]
    assert quality[0] + 2 < quality[1]


def test_whole_files_are_counted(drawings: CaptionedPictures) -> None:
    found = classic(drawings.images[:1], Setting(codec="JPEG", quality=40, side=64))
    file = io.BytesIO()
    tensor_to_image(drawings.images[0]).save(file, "JPEG", quality=40, **FORMATS["JPEG"])
    assert found.sizes["bytes"] == len(file.getvalue()) > found.sizes["bytes_payload"] > 0
    with Image.open(file) as back:
        assert back.size == (64, 64)


def test_another_codec_is_refused() -> None:
    with pytest.raises(ValueError, match="codec:"):
        Setting(codec="GIF", quality=1, side=8)


def test_of_equal_bytes_the_better_is_drawn() -> None:
    sizes = ((100.2, 20.0, 0.5), (99.8, 18.0, 0.7), (100.1, 19.0, 0.6))
    rows = [{"codec": "JPEG", "bytes": size, "psnr": psnr, "perceptual": far} for size, psnr, far in sizes]
    assert rate_curves(rows, "psnr") == {"JPEG": {100: 20.0}}
    assert rate_curves(rows, "perceptual") == {"JPEG": {100: 0.5}}


def test_rows_and_page(drawings: CaptionedPictures) -> None:
    tokenizer = ImageTokenizer(tiny_model(image_size=64, patch_size=16))
    judge = RateJudge(drawings, TinyNetwork())
    ours = list(tokens_at(tokenizer, drawings, (1, 4), prior=None))
    rows = [judge.row(coded) for coded in ours]
    assert rows[0]["bytes"] < rows[1]["bytes"] and rows[0]["bytes"] < rows[0]["bytes_with_captions"]
    assert rows[0]["bpp"] == pytest.approx(8 * rows[0]["bytes"] / 64**2)
    for quality in (1, 30, 80):
        setting = Setting(codec="WebP", quality=quality, side=64)
        rows.append(judge.row(classic(drawings.images, setting)))
    assert rows[-1]["psnr"] > rows[2]["psnr"] and rows[-1]["count"] == 20
    curves = rate_curves(rows, "psnr")
    assert set(curves) == {"tokens", "and caption", "WebP"}
    alone = rate_curves(rows, "psnr", counts=("bytes_payload",))
    assert set(alone) == {"tokens", "WebP"} and min(alone["tokens"]) < min(curves["tokens"])
    values = [curves["WebP"][size] for size in sorted(curves["WebP"])]
    assert values == sorted(values) and len(values) == 3
    html = rate_page(rows, ["psnr"], {"toy": {"originals & co": list(drawings.images[:2])}})
    assert html.count("<svg") == 2 and html.count("<img ") == 2 and "bytes a picture" in html
    assert "originals &amp; co" in html and "WebP" in re.sub(r"<details>.*", "", html, flags=re.S)
