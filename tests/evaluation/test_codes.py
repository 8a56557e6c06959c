"""Statistics of codes and of latents in closed form."""

import pytest
import torch

from textok.evaluation.metrics import VectorSums
from textok.evaluation.reconstruction import (
    channel_statistics,
    code_statistics,
    latent_extremes,
    nats_per_token,
)


def test_all_codes_alike_and_one_code_only():
    every = torch.arange(64).reshape(8, 8)
    assert code_statistics(every, num_codes=64) == pytest.approx(
        {"code_usage": 1.0, "code_perplexity": 64.0, "bits_per_image": 48.0}
    )
    assert code_statistics(torch.full((5, 4), 3), num_codes=16) == pytest.approx(
        {"code_usage": 1 / 16, "code_perplexity": 1.0, "bits_per_image": 16.0}
    )


def test_uneven_use_lowers_perplexity_and_not_usage():
    codes = torch.tensor([[0, 0, 0, 1]])
    found = code_statistics(codes, num_codes=2)
    assert found["code_usage"] == 1.0
    assert found["code_perplexity"] == pytest.approx(2 ** (0.75 * 0.4150375 + 0.25 * 2), rel=1e-6)


@pytest.mark.parametrize("codes", [torch.tensor([[0, 8]]), torch.tensor([[-1, 2]]), torch.zeros(0, 2).long()])
def test_codes_out_of_range_are_refused(codes):
    with pytest.raises(ValueError, match="from 0 to 7"):
        code_statistics(codes, num_codes=8)


def test_extremes_over_channels():
    generator = torch.Generator().manual_seed(0)
    unit = torch.randn(400, 16, 3, generator=generator, dtype=torch.float64)
    unit = (unit - unit.mean((0, 1))) / unit.std((0, 1), correction=0)
    latents = unit * torch.tensor([1.0, 0.5, 2.0]) + torch.tensor([0.0, -0.7, 0.2])
    sums = VectorSums(3)
    for part in latents.flatten(0, 1).split(999):
        sums.add(part)
    channels = channel_statistics(sums)
    assert channels["mean"] == pytest.approx([0.0, -0.7, 0.2], abs=1e-6)
    assert channels["std"] == pytest.approx([1.0, 0.5, 2.0])
    assert latent_extremes(channels) == pytest.approx(
        {"latent_mean_abs_max": 0.7, "latent_std_min": 0.5, "latent_std_max": 2.0}, rel=1e-6
    )


def test_divergence_equals_torch():
    generator = torch.Generator().manual_seed(1)
    mean, logs = torch.randn(2, 6, 4, 5, generator=generator)
    ours = nats_per_token(mean, logs)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, (logs / 2).exp()), normal(0.0, 1.0))
    torch.testing.assert_close(ours.float(), expected.sum(dim=2).mean(dim=1), rtol=1e-5, atol=0)
    assert nats_per_token(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)).tolist() == [0, 0]
