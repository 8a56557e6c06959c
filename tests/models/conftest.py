"""Tiny tokenizers and captions."""

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from jaxtyping import config as jaxtyping_config
from torch import Tensor

from textok.models.bottleneck import BottleneckConfig, KLConfig
from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok, TexTokConfig

TEXT_DIM = 12


def tiny_config(bottleneck: BottleneckConfig | None = None, **changes: object) -> TexTokConfig:
    settings = {
        "image_size": 32,
        "patch_size": 8,
        "dim": 32,
        "encoder_depth": 2,
        "decoder_depth": 2,
        "num_heads": 2,
        "num_latents": 6,
        "text_dim": TEXT_DIM,
        "max_text_tokens": 64,
        "bottleneck": bottleneck or KLConfig(latent_dim=4),
    }
    return TexTokConfig(**{**settings, **changes})


def tiny_model(bottleneck: BottleneckConfig | None = None, *, seed: int = 0, **changes: object) -> TexTok:
    torch.manual_seed(seed)
    model = TexTok(tiny_config(bottleneck, **changes))
    for parameter in model.parameters():  # far from zero everywhere, so that every input shows in the output
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def tiny_captions(lengths: Sequence[int], *, seed: int = 1) -> TextCondition:
    generator = torch.Generator().manual_seed(seed)
    return TextCondition.pad([torch.randn(n, TEXT_DIM, generator=generator) for n in lengths])


@pytest.fixture(scope="session")
def make_config() -> Callable[..., TexTokConfig]:
    return tiny_config


@pytest.fixture(scope="session")
def make_model() -> Callable[..., TexTok]:
    return tiny_model


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
