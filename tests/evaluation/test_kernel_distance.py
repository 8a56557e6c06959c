"""The kernel distance against torchmetrics' KID, its expectation and its standard error."""

import pytest
import torch
from torchmetrics.image.kid import KernelInceptionDistance

from textok.evaluation.metrics.sets import kernel_distance


def vectors(count, seed, *, shift=0.0, dim=12):
    generator = torch.Generator().manual_seed(seed)
    return shift + torch.randn(count, dim, generator=generator, dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`:UserWarning")
@pytest.mark.parametrize(("count", "size"), [(60, 30), (60, 10)], ids=["kernels-shared", "one-by-one"])
def test_equals_torchmetrics_on_the_same_subsets(count, size):
    a, b = vectors(count, 0), vectors(count, 1, shift=0.4)
    reference = KernelInceptionDistance(feature=torch.nn.Identity(), subsets=20, subset_size=size)
    reference.update(a, real=True)
    reference.update(b, real=False)
    torch.manual_seed(7)  # torchmetrics draws from the global generator: real first, then fake
    mean, std = reference.compute()
    ours = kernel_distance(a, b, generator=seeded(7), subsets=20, subset_size=size)
    assert ours.value == pytest.approx(mean.item(), rel=1e-12)
    assert ours.standard_error == pytest.approx(std.item() * (size / (count - size)) ** 0.5, rel=1e-9)


def test_subsets_average_to_the_unbiased_estimate_of_all_vectors():
    a, b = vectors(40, 0), vectors(50, 1, shift=0.4)
    ours = kernel_distance(a, b, generator=seeded(), subsets=4000)
    kernel = [(x @ y.T / 12 + 1) ** 3 for x, y in ((a, a), (b, b), (a, b))]
    off = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in kernel[:2]]
    expected = (sum(off) - 2 * kernel[2].mean()).item()
    assert ours.value == pytest.approx(expected, abs=4 * ours.standard_error / 4000**0.5)


@pytest.mark.parametrize(("shift", "highest"), [(0.0, 2.5), (0.4, 1.3)])
@pytest.mark.slow
def test_standard_error_is_the_spread_over_new_samples(shift, highest):
    """Of different sets it is right; of sets of one kind the subsets spread more than the whole does."""
    found = [
        kernel_distance(
            vectors(100, 2 * i), vectors(100, 2 * i + 1, shift=shift), generator=seeded(), subsets=40
        )
        for i in range(150)
    ]
    values = torch.tensor([each.value for each in found])
    claimed = torch.tensor([each.standard_error for each in found]).mean()
    assert 0.8 < claimed / values.std() < highest
    if shift == 0.0:
        assert abs(values.mean()) < 3 * values.std() / 150**0.5


def test_the_seed_decides_and_damage_shows():
    a = vectors(64, 0)
    first, second = (kernel_distance(a, vectors(64, 1), generator=seeded(3)).value for _ in range(2))
    assert first == second != kernel_distance(a, vectors(64, 1), generator=seeded(4)).value
    near, far = (kernel_distance(a, vectors(64, 1, shift=s), generator=seeded()).value for s in (0.3, 0.9))
    assert first < near < far


def test_too_few_vectors_are_refused():
    with pytest.raises(ValueError, match="got 3 and 10 vectors"):
        kernel_distance(vectors(3, 0), vectors(10, 1), generator=seeded())
