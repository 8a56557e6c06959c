"""A small feature network, a small tokenizer and a few pictures, all from fixed seeds."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from textok.evaluation.alignment import ClassPosterior, TwoTower, TwoTowerConfig
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.metrics.frechet import SplitStatistics
from textok.evaluation.metrics.paired import PairedMetrics
from textok.evaluation.metrics.semantics import Semantics
from textok.evaluation.networks import ImageFeatures
from textok.models.bottleneck import KLConfig
from textok.models.tokenizer import TexTok
from tiny import LetterEncoder, TinyNetwork, tiny_model


def evaluate_pairs(originals: Tensor, reconstructions: Tensor, *, network: object) -> dict[str, float]:
    """All metrics of a set of pictures against their originals, in batches of 64."""
    metrics, statistics = PairedMetrics.empty(network), SplitStatistics.empty(network.dim)
    for rows in torch.arange(len(originals)).split(64):
        features = network(originals[rows])
        statistics = statistics + SplitStatistics.of(features.pooled, rows)
        metrics.update(originals[rows], reconstructions[rows], indices=rows, original_features=features)
    return metrics.compute(statistics)


@pytest.fixture(name="evaluate_pairs")
def evaluate_pairs_() -> Callable[..., dict[str, float]]:
    return evaluate_pairs


@pytest.fixture
def network() -> TinyNetwork:
    return TinyNetwork()


@pytest.fixture
def text() -> LetterEncoder:
    return LetterEncoder()


@pytest.fixture
def model() -> TexTok:
    model = tiny_model(KLConfig(latent_dim=8), num_latents=8, text_dim=12)
    # Larger outputs than at the start of training, so that budgets and captions show in 8 bits.
    nn.init.normal_(model.decoder.output.weight, std=0.2)
    return model


@pytest.fixture
def pictures() -> CaptionedPictures:
    generator = torch.Generator().manual_seed(2)
    coarse = torch.randint(0, 256, (18, 3, 4, 4), generator=generator, dtype=torch.uint8)
    return CaptionedPictures(
        split="toy",
        images=coarse.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3),
        captions=tuple(f"{chr(97 + i)} picture" for i in range(18)),
        keys=tuple(f"key-{i}" for i in range(18)),
    )


class TinyClassifier(TinyNetwork):
    """The small network with a classifier of five classes."""

    name = "tiny_classifier"

    def forward(self, images: Tensor) -> ImageFeatures:
        features = super().forward(images)
        weights = torch.randn(6, 5, generator=torch.Generator().manual_seed(3))
        return replace(features, logits=features.pooled @ weights)


@pytest.fixture
def semantics() -> Semantics:
    """Judges with random weights, on the small classifier and the letters' vectors."""
    torch.manual_seed(4)
    config = TwoTowerConfig(image_network="tiny_classifier", image_dim=6, text_dim=12, hidden=16, dim=8)
    classes = torch.randn(5, 12, generator=torch.Generator().manual_seed(5))
    return Semantics(
        network=TinyClassifier(),
        two_tower=TwoTower(config).eval(),
        class_posterior=ClassPosterior(classes),
        text=LetterEncoder(),
    )
