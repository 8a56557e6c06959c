"""The Fréchet distance against scipy's matrix square root and against closed forms."""

import copy

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm, svdvals

from textok.evaluation import metrics
from textok.evaluation.metrics.sets import (
    FeatureStatistics,
    SplitFeatures,
    frechet_distance,
    frechet_distance_pca,
)


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


def as_sums(statistics):
    """The same set, of which only mean and covariance are known."""
    return FeatureStatistics.from_moments(statistics.mean, statistics.covariance, statistics.count)


@pytest.mark.parametrize("count", [16, 12, 2], ids=["as-many-as-channels", "fewer", "two"])
def test_kept_vectors_and_their_sums_give_the_same_distance(count):
    a, b = (FeatureStatistics.of(vectors(count, 16, seed, shift=0.3 * seed)) for seed in (0, 1))
    assert a.factor.shape == (count, 16) and as_sums(a).factor.shape == (16, 16)
    exact = frechet_distance(a, b)
    for other in [(as_sums(a), as_sums(b)), (a, as_sums(b)), (as_sums(a), b)]:
        # Roots of eigenvalues that are 0 but for rounding are about 1e-8 of the largest each.
        assert frechet_distance(*other) == pytest.approx(exact, rel=1e-6)
    torch.testing.assert_close(a.covariance, as_sums(a).covariance, rtol=1e-9, atol=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_the_trace_of_the_root_by_scipys_singular_values():
    a, b = vectors(9, 20, 0).double(), vectors(7, 20, 1, shift=0.2).double()
    factors = [(x - x.mean(0)).numpy() / np.sqrt(len(x) - 1) for x in (a, b)]
    expected = (a.mean(0) - b.mean(0)).square().sum() + sum(np.square(f).sum() for f in factors)
    expected -= 2 * svdvals(factors[0] @ factors[1].T).sum()
    assert frechet_distance(FeatureStatistics.of(a), FeatureStatistics.of(b)) == pytest.approx(
        float(expected), rel=1e-12
    )


def test_vectors_are_kept_up_to_the_number_of_channels():
    few, many = FeatureStatistics.of(vectors(40, 40, 0)), FeatureStatistics.of(vectors(41, 40, 0))
    assert few.factor.mean(dim=0).abs().max() < 1e-9 and many.factor.tril(-1).abs().max() == 0
    assert many.count == 41
    other = FeatureStatistics.of(vectors(50, 40, 1))
    assert frechet_distance(many, other) == pytest.approx(frechet_distance(other, many), rel=1e-8)


def test_along_principal_directions_of_kept_vectors():
    a, b = (FeatureStatistics.of(vectors(30, 40, seed, shift=0.1 * seed)) for seed in (0, 1))
    ours = frechet_distance_pca(a, b, components=5)
    assert ours == pytest.approx(frechet_distance_pca(as_sums(a), as_sums(b), components=5), rel=1e-8)


def test_closed_form_of_diagonal_gaussians():
    """For diagonal covariances: |mu_a - mu_b|^2 + sum (s_a - s_b)^2."""
    mean_a, mean_b = torch.tensor([0.0, 1.0, -2.0]), torch.tensor([0.5, 1.0, 3.0])
    std_a, std_b = torch.tensor([1.0, 2.0, 0.1]), torch.tensor([1.5, 2.0, 4.0])

    def gaussian(mean, std):
        return FeatureStatistics.from_moments(mean, torch.diag(std.double().square()), 100)

    expected = (mean_a - mean_b).square().sum() + (std_a - std_b).square().sum()
    assert frechet_distance(gaussian(mean_a, std_a), gaussian(mean_b, std_b)) == pytest.approx(
        float(expected)
    )


def test_one_vector_has_no_covariance():
    with pytest.raises(ValueError, match="got 1 pictures"):
        FeatureStatistics.of(torch.zeros(1, 3))


def test_moments_and_vectors_give_the_same_statistics():
    a = vectors(50, 6, 0, shift=2.0)
    found = FeatureStatistics.of(a)
    again = FeatureStatistics.from_moments(found.mean, found.covariance, found.count)
    for name in ("mean", "covariance"):
        torch.testing.assert_close(getattr(again, name), getattr(found, name), rtol=1e-12, atol=1e-12)


def test_features_of_two_networks_are_refused():
    with pytest.raises(ValueError, match="3 and 4 channels"):
        frechet_distance(FeatureStatistics.of(vectors(9, 3, 0)), FeatureStatistics.of(vectors(9, 4, 0)))


def test_along_principal_directions_equals_projected_vectors():
    a, b = vectors(80, 10, 0), vectors(60, 10, 1, shift=0.4)
    _, _, directions = torch.linalg.svd(a.double() - a.double().mean(0), full_matrices=False)
    projected = [FeatureStatistics.of(x.double() @ directions[:4].T) for x in (a, b)]
    ours = frechet_distance_pca(FeatureStatistics.of(a), FeatureStatistics.of(b), components=4)
    assert ours == pytest.approx(frechet_distance(*projected), rel=1e-9)


def test_along_all_directions_nothing_is_lost():
    a, b = (FeatureStatistics.of(vectors(60, 8, seed, shift=seed)) for seed in (0, 1))
    assert frechet_distance_pca(a, b, components=8) == pytest.approx(frechet_distance(a, b), rel=1e-9)


@pytest.mark.parametrize(("count", "components"), [(50, 0), (50, 9), (5, 5)])
def test_more_directions_than_there_are_is_refused(count, components):
    few = FeatureStatistics.of(vectors(count, 8, 0))
    with pytest.raises(ValueError, match=f"{components} of {count}"):
        frechet_distance_pca(few, few, components=components)


def test_the_floor_is_between_the_two_halves():
    features = vectors(60, 8, 0)
    split = SplitFeatures.of(features)
    expected = frechet_distance(FeatureStatistics.of(features[1::2]), FeatureStatistics.of(features[::2]))
    assert split.floor == pytest.approx(expected)
    assert split.whole.count == 60 and split.odd.count == split.even.count == 30


def held_bytes(thing):
    """Bytes of all tensors that an object keeps."""
    if isinstance(thing, torch.Tensor):
        return thing.nbytes
    parts = thing.values() if isinstance(thing, dict) else thing
    if hasattr(thing, "__dict__"):
        parts = vars(thing).values()
    return sum(map(held_bytes, parts)) if hasattr(parts, "__iter__") and not isinstance(parts, str) else 0


def test_a_large_set_is_held_in_no_more_than_its_sums_and_scores_the_same():
    sizes = {}
    for count in (32, 33, 400, 4000):
        features = vectors(count, 8, 0, shift=1.0)
        split = SplitFeatures(count=count, dim=8)
        for indices in torch.randperm(count).split(50):
            split.add(indices, features[indices])
        sizes[count] = held_bytes(split)
        exact = [FeatureStatistics.of(features[rows]) for rows in (slice(0, None, 2), slice(1, None, 2))]
        assert split.floor == pytest.approx(frechet_distance(*exact), rel=1e-6)
        torch.testing.assert_close(split.whole.covariance, FeatureStatistics.of(features).covariance)
    assert sizes[4000] == sizes[33] == 2 * 8 * (8 * 8 + 8)
    assert sizes[32] <= 32 * 8 * 4 + 32 * 8  # the vectors, and where they belong


def test_the_sums_of_all_ranks_add_up(monkeypatch):
    features, rows = vectors(80, 8, 0), torch.arange(80)
    ranks = [SplitFeatures(count=80, dim=8) for _ in range(2)]
    for rank, part in enumerate(ranks):
        part.add(rows[rank::2], features[rank::2])
    others = {half: copy.deepcopy(ranks[1]._sums[half]) for half in (0, 1)}
    calls = iter((0, 1))
    monkeypatch.setattr(metrics, "_from_all_ranks", lambda sums: [sums, others[next(calls)]])
    ranks[0].gather()
    torch.testing.assert_close(ranks[0].whole.covariance, FeatureStatistics.of(features).covariance)
    assert ranks[0].floor == pytest.approx(SplitFeatures.of(features[:, :8]).floor)
