"""What is counted of small files: the picture and nothing that is the same in every file."""

import io

import numpy as np
import pytest
from PIL import Image

from rates.coding import FORMATS
from rates.payload import payload_bytes, plain_jpeg

FLAT = Image.new("RGB", (32, 32), (200, 30, 90))


def written(picture: Image.Image, codec: str, quality: int) -> bytes:
    """A file as the benchmark writes it; of a JPEG the one that is counted."""
    if codec == "JPEG":
        return plain_jpeg(picture, quality)
    file = io.BytesIO()
    picture.save(file, codec, quality=quality, **FORMATS[codec])
    return file.getvalue()


def noisy(seed: int) -> Image.Image:
    """A picture that costs bytes."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8))


@pytest.mark.parametrize("codec", list(FORMATS))
def test_headers_are_the_same_in_every_file(codec: str) -> None:
    """What is left out does not depend on the picture, but for lengths and padding."""
    left_out = []
    for picture in (FLAT, noisy(0), noisy(1)):
        file = written(picture, codec, 40)
        left_out.append(len(file) - payload_bytes(file, codec))
    assert max(left_out) - min(left_out) <= 3
    assert payload_bytes(written(FLAT, codec, 40), codec) < 60
    assert payload_bytes(written(noisy(0), codec, 40), codec) > 200


def test_a_plain_jpeg_is_the_same_picture() -> None:
    file = io.BytesIO()
    noisy(2).save(file, "JPEG", quality=30, **FORMATS["JPEG"])
    with Image.open(file) as own, Image.open(io.BytesIO(plain_jpeg(noisy(2), 30))) as shared:
        assert own.tobytes() == shared.tobytes()


@pytest.mark.parametrize("codec", list(FORMATS))
def test_other_files_are_refused(codec: str) -> None:
    with pytest.raises(ValueError, match=f"not a {codec} file"):
        payload_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40), codec)
