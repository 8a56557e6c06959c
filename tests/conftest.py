"""What several rooms share: tiny tokenizers, icons in tar files and a caption cache of invented features."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest

from textok.data import DataConfig
from textok.models.bottleneck import BottleneckConfig, FSQConfig
from textok.models.tokenizer import TexTok, TexTokConfig
from textok.pipeline.cache_latents import CachingRun, cache_latents
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pipeline.text import CachedText
from tiny import LetterEncoder, invented_states, tiny_model

VAL = Path(__file__).parents[1] / "datasets/icons-128/val-000000.tar"


def _write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(scope="session")
def write_tar() -> Callable[[Path, Mapping[str, bytes]], Path]:
    """Write a tar of these members."""
    return _write_tar


def _members(first: int, count: int) -> dict[str, bytes]:
    with tarfile.open(VAL) as tar:
        names = [f"val-{i:06d}.{ending}" for i in range(first, first + count) for ending in ("webp", "json")]
        return {name: tar.extractfile(name).read() for name in names}


@pytest.fixture(scope="session")
def icons(write_tar: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Splits: train of 48 pictures, torn of the same and a file that is none, val of 16 others, test of 12 more."""
    folder = tmp_path_factory.mktemp("icons")
    train = _members(0, 48)
    write_tar(folder / "train-000000.tar", train)
    torn = {"bad.webp": b"not a picture", "bad.json": json.dumps({"caption": "torn"}).encode()}
    write_tar(folder / "torn-000000.tar", train | torn)
    write_tar(folder / "val-000000.tar", _members(48, 16))
    write_tar(folder / "test-000000.tar", _members(64, 12))
    return folder


@pytest.fixture(scope="session")
def letters() -> LetterEncoder:
    return LetterEncoder()


@pytest.fixture(scope="session")
def make_model() -> Callable[..., TexTok]:
    """A function (bottleneck, seed) that makes a tiny model which reads ``letters``."""
    return partial(tiny_model, std=0.2, text_dim=12, text_bias=None)


@pytest.fixture(scope="session")
def tokenizer(letters: LetterEncoder, make_model: Callable[..., TexTok]) -> ImageTokenizer:
    return ImageTokenizer(make_model(), text_encoder=letters, dtype="float32")


@pytest.fixture(scope="session")
def discrete(letters: LetterEncoder, make_model: Callable[..., TexTok]) -> ImageTokenizer:
    model = make_model(FSQConfig(levels=(8, 5, 5, 5)))
    return ImageTokenizer(model, text_encoder=letters, dtype="float32")


@pytest.fixture(scope="session")
def text_cache(icons: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A caption cache that is warm for all pictures: no test here loads a text encoder."""
    folder = tmp_path_factory.mktemp("captions")
    captions = [
        c for split in ("torn", "val") for c in DataConfig(source=str(icons), split=split).open().captions()
    ]
    cache = CachedText(TexTokConfig(), folder=str(folder)).cache
    cache.warm(captions, lambda: invented_states)
    return folder


@pytest.fixture(scope="session")
def make_latents(icons: Path, text_cache: Path) -> Callable[..., Path]:
    """A function (folder, bottleneck) that caches the forty-eight pictures by an untrained tokenizer."""

    def make(folder: Path, bottleneck: BottleneckConfig, *, source: Path = icons) -> Path:
        tiny_model(bottleneck).save_pretrained(folder / "tokenizer", name="tiny")
        data = DataConfig(source=str(source), split="train", size=(32, 32))
        run = CachingRun(tokenizer=str(folder / "tokenizer"), data=data, text_cache=str(text_cache))
        cache_latents(run, folder / "latents")
        return folder / "latents"

    return make
