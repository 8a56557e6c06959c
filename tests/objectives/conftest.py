import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def pictures():
    """Four smooth pictures with edges, in [-1, 1]: (4, 3, 64, 64)."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(4, 3, 6, 6, generator=generator) * 2 - 1
    smooth = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear")
    squares = torch.nn.functional.interpolate(coarse.flip(2).sign(), size=(64, 64), mode="nearest")
    return (0.6 * smooth + 0.4 * squares).clamp(-1, 1)
