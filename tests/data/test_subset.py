"""Part of a source, spread over it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from textok.data import open_source
from textok.data.images import ImageError, stored_size
from textok.data.samples import Source, spread


def test_a_subset_is_spread_over_the_whole(make_tars: Callable[..., Path]) -> None:
    source = open_source(make_tars(6, 4))
    part = spread(source, 5)
    assert isinstance(part, Source) and len(part) == 5 and list(part.shard_lengths) == [5]
    assert [part.read(i).key for i in range(5)] == [source.read(i).key for i in (1, 3, 5, 7, 9)]
    assert list(part.captions()) == [text for i in (1, 3, 5, 7, 9) for text in source.read(i).captions]
    assert part.fingerprint == source.fingerprint


@pytest.mark.parametrize("count", [None, 10, 50])
def test_no_more_than_there_is_takes_all(count: int | None, make_tars: Callable[..., Path]) -> None:
    source = open_source(make_tars(10))
    assert spread(source, count) is source


def test_the_stored_size_is_upright(tmp_path: Path) -> None:
    from PIL import Image

    image = Image.new("RGB", (30, 20))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert stored_size((tmp_path / "plain.png").read_bytes()) == (20, 30)
    assert stored_size((tmp_path / "turned.jpg").read_bytes()) == (30, 20)
    with pytest.raises(ImageError, match="unreadable picture"):
        stored_size(b"not a picture")
