"""What several rooms share: icons in tar files, a caption cache of invented features, runs that take a second."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import Tensor

from textok.data import DataConfig
from textok.models.bottleneck import BottleneckConfig, FSQConfig, KLConfig
from textok.models.dit import DiTConfig
from textok.models.tokenizer import TexTok, TexTokConfig
from textok.pipeline.cache_latents import CachingRun, cache_latents
from textok.pipeline.cached_text import CachedText
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.recipes.tokenizers import toy
from textok.training.draws import BudgetDraw
from textok.training.generator.config import GeneratorRun, PreviewConfig
from textok.training.optimizers import OptimizerConfig
from textok.training.tokenizer.config import TokenizerRun, ValidationConfig
from tiny import LetterEncoder, invented_states, tiny_model

VAL = Path(__file__).parents[1] / "datasets/icons-128/val-000000.tar"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The same sums on any machine, and no precision left over from another test."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    torch.set_num_threads(threads)


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
    return ImageTokenizer(make_model(), text_encoder=letters, precision="float32")


@pytest.fixture(scope="session")
def discrete(letters: LetterEncoder, make_model: Callable[..., TexTok]) -> ImageTokenizer:
    model = make_model(FSQConfig(levels=(8, 5, 5, 5)))
    return ImageTokenizer(model, text_encoder=letters, precision="float32")


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
def tiny(icons: Path, text_cache: Path) -> TokenizerRun:
    """The toy recipe with one block a side; steps are logged by threes and saved by twos."""
    run = toy()
    model = replace(run.model, dim=32, encoder_depth=1, decoder_depth=1, num_latents=4)
    return replace(
        run,
        name="tiny",
        model=model,
        data=DataConfig(source=str(icons), split="train", size=(32, 32)),
        text_cache=str(text_cache),
        precision="float32",
        steps=12,
        batch_size=8,
        log_every=3,
        checkpoint_every=2,
        validation=ValidationConfig(count=12, every=12, budgets=(1, 4), batch_size=8, pictures=2),
    )


@pytest.fixture(scope="session")
def read_checkpoint() -> Callable[[Path, int], tuple[dict[str, Tensor], dict[str, Any]]]:
    """The tensors and the other state of a run's checkpoint, as they lie on disk."""

    def read(run: Path, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        folder = run / "checkpoints" / f"step-{step:08d}"
        return load_file(folder / "tensors.safetensors"), json.loads((folder / "state.json").read_text())

    return read


@pytest.fixture(scope="session")
def read_metrics() -> Callable[[Path], list[dict[str, float]]]:
    """The lines of metrics.jsonl without the speed, which no two runs share."""

    def read(run: Path) -> list[dict[str, float]]:
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines]

    return read


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


@pytest.fixture(scope="session")
def generator_run(
    make_latents: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> GeneratorRun:
    """A DiT of one block on kl latents, with every random draw and several micro-batches."""
    latents = str(make_latents(tmp_path_factory.mktemp("kl"), KLConfig(latent_dim=4)))
    return GeneratorRun(
        name="tiny",
        model=DiTConfig(dim=32, depth=1, num_heads=2),
        data=latents,
        optimizer=OptimizerConfig(kind="adamw", lr=3e-3, warmup_steps=2),
        budgets=BudgetDraw(kind="uniform", per_sample=True),
        preview=PreviewConfig(held_out=latents, every=6, budgets=(2, 4), tokenizer="none"),
        steps=12,
        batch_size=8,
        micro_batch=5,
        precision="float32",
        log_every=3,
        checkpoint_every=2,
    )
