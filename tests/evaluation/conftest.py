"""A small feature network, a small tokenizer and a few pictures, all from fixed seeds."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from textok.evaluation.alignment import ClassPosterior, Semantics, TwoTower, TwoTowerConfig
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.metrics import Pairs, PictureValues, means
from textok.evaluation.metrics.paired import measure_pairs, set_distances
from textok.evaluation.metrics.sets import SplitFeatures
from textok.evaluation.networks import ImageFeatures
from textok.models.bottleneck import KLConfig
from textok.models.tokenizer import TexTok
from tiny import LetterEncoder, TinyNetwork, tiny_model


def pair_values(
    originals: Tensor, reconstructions: Tensor, parts: Iterable[Tensor], *, network: object
) -> PictureValues:
    """Values and features of pairs, whose positions in the set come in parts."""
    values = PictureValues()
    for rows in parts:
        pairs = Pairs(
            originals=originals[rows],
            reconstructions=reconstructions[rows],
            original_features=network(originals[rows]),
            features=network(reconstructions[rows]),
            network=network,
        )
        vectors = {"original": pairs.original_features.pooled, "made": pairs.features.pooled}
        values.add(rows, vectors | measure_pairs(pairs))
    return values


def row_of(values: PictureValues, *, network: object) -> dict[str, float]:
    """Means, and distances between the sets."""
    columns = values.in_order()
    sets = [SplitFeatures.of(columns.pop(name)) for name in ("original", "made")]
    return means(columns) | set_distances(*sets, network=network)


def evaluate_pairs(originals: Tensor, reconstructions: Tensor, *, network: object) -> dict[str, float]:
    """All metrics of a set of pictures against their originals, in batches of 64."""
    values = pair_values(originals, reconstructions, torch.arange(len(originals)).split(64), network=network)
    return row_of(values, network=network)


@pytest.fixture(name="evaluate_pairs")
def evaluate_pairs_() -> Callable[..., dict[str, float]]:
    return evaluate_pairs


@pytest.fixture(name="pair_values")
def pair_values_() -> Callable[..., PictureValues]:
    return pair_values


@pytest.fixture(name="row_of")
def row_of_() -> Callable[..., dict[str, float]]:
    return row_of


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
