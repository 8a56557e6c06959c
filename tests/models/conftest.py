"""Tiny tokenizers and captions."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
import torch
from jaxtyping import config as jaxtyping_config
from torch import Tensor

from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok, TexTokConfig
from tiny import tiny_config, tiny_model

TEXT_DIM = 12
SHAPE = {
    "encoder_depth": 2,
    "decoder_depth": 2,
    "num_latents": 6,
    "text_dim": TEXT_DIM,
    "max_text_tokens": 64,
}


def tiny_captions(lengths: Sequence[int], *, seed: int = 1) -> TextCondition:
    generator = torch.Generator().manual_seed(seed)
    return TextCondition.pad([torch.randn(n, TEXT_DIM, generator=generator) for n in lengths])


@pytest.fixture(scope="session")
def make_config() -> Callable[..., TexTokConfig]:
    return partial(tiny_config, **SHAPE)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., TexTok]:
    return partial(tiny_model, std=0.2, **SHAPE)


@pytest.fixture(scope="session")
def make_text() -> Callable[..., TextCondition]:
    return tiny_captions


@pytest.fixture(scope="session")
def images() -> Tensor:
    """Three pictures (3, 3, 32, 32) in [-1, 1]."""
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.fixture
def untyped() -> Iterator[None]:
    """Without run-time type checks, as users run it: the models' own errors show."""
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)
