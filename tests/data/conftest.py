"""Small data sets made on the fly."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _flat(number: int) -> Image.Image:
    """A 12 x 10 picture whose color tells its number."""
    return Image.new("RGB", (12, 10), (number % 256, number // 256, 200))


@pytest.fixture
def make_tars(tmp_path: Path, write_tar: Callable[..., Path]) -> Callable[..., Path]:
    """Write ``train-NNNNNN.tar`` shards of the given lengths; sample i has color i and three captions."""

    def make(*lengths: int, broken: tuple[int, ...] = (), captions: int = 3) -> Path:
        number = 0
        for shard, length in enumerate(lengths):
            members = {}
            for _ in range(length):
                picture = b"not a picture" if number in broken else _encode(_flat(number))
                record = {
                    "captions": [f"{number} {word}" for word in "abcdefgh"[:captions]],
                    "label": number % 5,
                }
                members |= {f"s{number:05d}.png": picture, f"s{number:05d}.json": json.dumps(record).encode()}
                number += 1
            write_tar(tmp_path / f"train-{shard:06d}.tar", members)
        return tmp_path

    return make
