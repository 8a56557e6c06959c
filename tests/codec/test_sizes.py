"""Sizes told from the probability model are those of the coded strings."""

import io

import numpy as np
import pytest
import torch
from jaxtyping import Int

from textok.budgets import SoftBudget
from textok.budgets.encoder import SoftEncoder
from textok.codec import CodePrior, LatentPrior, Prior, TtkWriter, coded_sizes, header_for
from textok.codec.coding import code_lengths, pack
from textok.codec.prior import fit_latents, plain_latents
from textok.models.bottleneck import BottleneckConfig, FSQConfig, KLConfig
from textok.models.tokenizer import TexTok, TexTokConfig
from textok.pipeline.image_tokenizer import ImageTokenizer

TOKENS = 6
SIZES = {"image_size": 16, "patch_size": 8, "dim": 16, "encoder_depth": 1, "decoder_depth": 1, "num_heads": 2}


def latents(count: int) -> torch.Tensor:
    """Tokens that resemble the one before."""
    draws = torch.randn(count, TOKENS, 3, generator=torch.Generator().manual_seed(count))
    return draws.cumsum(dim=1) / 2


def priors() -> dict[str, Prior]:
    return {
        "plain": plain_latents(TOKENS, 3),
        "linear": fit_latents(latents(400)),
        "codes": CodePrior(levels=(8, 5), tokens=TOKENS),
    }


def numbers_for(prior: Prior, count: int) -> Int[np.ndarray, "n k c"]:
    if isinstance(prior, LatentPrior):
        return np.rint(latents(count).double().numpy() * 4096 / prior.step).astype(np.int64)
    return np.random.default_rng(0).integers(0, 5, size=(count, TOKENS, 2))


@pytest.mark.parametrize("name", ["plain", "linear", "codes"])
@pytest.mark.parametrize("budget", [1, 4, TOKENS])
def test_lengths_are_those_of_the_coder(name: str, budget: int) -> None:
    prior = priors()[name]
    numbers = numbers_for(prior, 200)
    told = code_lengths(numbers, prior)
    coded, escapes = pack([rows[:budget] for rows in numbers], prior)
    assert told.shape == (200, TOKENS) and bool((np.diff(told, axis=1) > 0).all())
    assert told[:, budget - 1].sum() / 8 == pytest.approx(len(coded) + len(escapes), abs=12)


def test_numbers_far_outside_are_counted() -> None:
    prior = plain_latents(TOKENS, 3)
    numbers = np.zeros((1, TOKENS, 3), dtype=np.int64)
    numbers[0, 2, 1] = 10**6
    coded, escapes = pack(list(numbers), prior)
    assert len(escapes) == 3
    assert code_lengths(numbers, prior)[0, -1] / 8 == pytest.approx(len(coded) + len(escapes), abs=8)


@pytest.mark.parametrize("bottleneck", [KLConfig(latent_dim=4), FSQConfig(levels=(8, 5, 5))])
def test_a_mean_of_bytes_is_met_by_the_file(bottleneck: BottleneckConfig) -> None:
    """Calibrated on 80 pictures, asked of 80 others: what a file holds of them is off by the stated error."""
    torch.manual_seed(0)
    model = TexTok(TexTokConfig(**SIZES, num_latents=TOKENS, placement="none", bottleneck=bottleneck))
    for parameter in model.parameters():  # far from zero, so that pictures differ
        torch.nn.init.normal_(parameter, std=0.2)
    tokenizer, sizes = ImageTokenizer(model, dtype="float32"), coded_sizes(model)
    coarse = torch.rand(160, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    images = (torch.nn.functional.interpolate(coarse, size=16, mode="bilinear") * 255).to(torch.uint8)
    ends = sizes(tokenizer.encode(images[:80]).values).mean(dim=0)
    asked = float(ends[1] + ends[4]) / 2  # between two and five tokens
    encoder = SoftEncoder(tokenizer, SoftBudget(2, 5, bytes=asked), sizes=sizes)
    found = encoder.calibrate(images[:80])
    assert found.mean == pytest.approx(asked, abs=0.1) and 0 < found.standard_error < 0.2 * asked
    assert 2 < found.mean_tokens < 5
    with TtkWriter(io.BytesIO(), header_for(model)) as writer:
        writer.add(encoder.encode(images[80:])[0])
    got = writer.facts()["token_bytes_per_image"]
    assert got == pytest.approx(asked, abs=3 * found.standard_error)
    for wrong in (float(ends[1]) - 0.5, float(ends[4]) + 0.5):
        with pytest.raises(ValueError, match=r"bytes:"):
            SoftEncoder(tokenizer, SoftBudget(2, 5, bytes=wrong), sizes=sizes).calibrate(images[:80])
