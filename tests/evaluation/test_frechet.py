"""The Fréchet distance against scipy's matrix square root and against closed forms."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from textok.evaluation.metrics.frechet import FeatureStatistics, frechet_distance


def vectors(count, dim, seed, *, scale=1.0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, generator=generator)
    return scale * torch.randn(count, dim, generator=generator) @ mix + shift


@pytest.mark.parametrize("count", [200, 12], ids=["full-rank", "fewer-vectors-than-channels"])
def test_equals_scipy(count):
    a, b = vectors(count, 16, 0), vectors(count, 16, 1, scale=0.7, shift=0.3)
    mean_a, mean_b = a.double().mean(0).numpy(), b.double().mean(0).numpy()
    cov_a, cov_b = np.cov(a.double().numpy(), rowvar=False), np.cov(b.double().numpy(), rowvar=False)
    root = sqrtm((cov_a + 1e-12 * np.eye(16)) @ (cov_b + 1e-12 * np.eye(16)))
    expected = np.square(mean_a - mean_b).sum() + np.trace(cov_a + cov_b - 2 * root.real)
    ours = frechet_distance(FeatureStatistics.of(a), FeatureStatistics.of(b))
    assert ours == pytest.approx(expected, rel=1e-4 if count == 12 else 1e-9)


def test_closed_form_of_diagonal_gaussians():
    """For diagonal covariances: |mu_a - mu_b|^2 + sum (s_a - s_b)^2."""
    mean_a, mean_b = torch.tensor([0.0, 1.0, -2.0]), torch.tensor([0.5, 1.0, 3.0])
    std_a, std_b = torch.tensor([1.0, 2.0, 0.1]), torch.tensor([1.5, 2.0, 4.0])

    def gaussian(mean, std, count=100):
        covariance = torch.diag(std.double().square())
        total = mean.double() * count
        outer = covariance * (count - 1) + torch.outer(total, total) / count
        return FeatureStatistics(count=count, total=total, outer=outer)

    expected = (mean_a - mean_b).square().sum() + (std_a - std_b).square().sum()
    assert frechet_distance(gaussian(mean_a, std_a), gaussian(mean_b, std_b)) == pytest.approx(
        float(expected)
    )


def test_chunks_add_up_and_order_does_not_matter():
    a, b = vectors(60, 8, 0), vectors(60, 8, 1)
    pieces = FeatureStatistics.of(a[40:]) + FeatureStatistics.of(a[:0]) + FeatureStatistics.of(a[:40])
    whole = frechet_distance(FeatureStatistics.of(a), FeatureStatistics.of(b))
    assert frechet_distance(pieces, FeatureStatistics.of(b)) == pytest.approx(whole, rel=1e-10)
    assert frechet_distance(FeatureStatistics.of(b), pieces) == pytest.approx(whole, rel=1e-8)


def test_one_vector_has_no_covariance():
    few = FeatureStatistics.of(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="got 1 pictures"):
        frechet_distance(few, few)
