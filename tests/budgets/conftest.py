"""A tiny tokenizer and a text encoder that needs no weights."""

from collections.abc import Callable, Sequence

import pytest
import torch

from textok.models.bottleneck import BottleneckConfig, FSQConfig, KLConfig
from textok.models.text import TextCondition
from textok.models.text_encoder import TextEncoder
from textok.models.tokenizer import TexTok, TexTokConfig
from textok.pipeline.image_tokenizer import ImageTokenizer


class LetterEncoder(TextEncoder):
    """Stands in for a TextEncoder: a token a letter, made from its code."""

    name = "letters"

    def __init__(self) -> None:
        pass

    def __call__(self, captions: Sequence[str]) -> TextCondition:
        codes = [torch.tensor([float(ord(letter)) for letter in text]) for text in captions]
        return TextCondition.pad([torch.outer(row, torch.arange(1.0, 13.0)).sin() for row in codes])


def tiny_model(bottleneck: BottleneckConfig | None = None, *, seed: int = 0) -> TexTok:
    torch.manual_seed(seed)
    config = TexTokConfig(
        image_size=32,
        patch_size=8,
        dim=32,
        encoder_depth=1,
        decoder_depth=1,
        num_heads=2,
        num_latents=4,
        text_dim=12,
        text_bias=None,
        bottleneck=bottleneck or KLConfig(latent_dim=4),
    )
    model = TexTok(config)
    for parameter in model.parameters():  # far from zero everywhere, so that every input shows in the output
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture(scope="session")
def make_model() -> Callable[..., TexTok]:
    return tiny_model


@pytest.fixture(scope="session")
def letters() -> LetterEncoder:
    return LetterEncoder()


@pytest.fixture(scope="session")
def tokenizer(letters: LetterEncoder) -> ImageTokenizer:
    return ImageTokenizer(tiny_model(), text_encoder=letters, precision="float32")


@pytest.fixture(scope="session")
def discrete(letters: LetterEncoder) -> ImageTokenizer:
    return ImageTokenizer(
        tiny_model(FSQConfig(levels=(8, 5, 5, 5))), text_encoder=letters, precision="float32"
    )
