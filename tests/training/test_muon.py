"""Muon with stacked shapes: the steps of torch's own, in the number type it is asked for."""

import pytest
import torch
from torch import nn
from torch.optim import Muon

from textok.training.optimizers import StackedMuon, orthogonalized, same_shapes

SHAPES = ((8, 8), (8, 24), (24, 8), (8, 8), (3, 5))


def matrices(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def walk(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], *, steps: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def test_its_steps_are_those_of_torch() -> None:
    ours, theirs = matrices(), matrices()
    options = {"lr": 0.01, "weight_decay": 0.1}
    walk(StackedMuon(ours, dtype=torch.bfloat16, **options), ours, steps=5)
    walk(Muon(theirs, adjust_lr_fn="match_rms_adamw", **options), theirs, steps=5)
    for a, b, start in zip(ours, theirs, matrices(), strict=True):
        mine, torchs = ((x - start).detach().flatten() for x in (a, b))  # near the same orthogonal matrices
        assert torch.cosine_similarity(mine, torchs, dim=0) > 0.9
        assert mine.norm() / torchs.norm() == pytest.approx(1.1, rel=0.25)


def test_float32_is_what_bfloat16_rounds() -> None:
    rough, fine = matrices(), matrices()
    walk(StackedMuon(rough, dtype=torch.bfloat16, lr=0.01), rough, steps=1)
    walk(StackedMuon(fine, dtype=torch.float32, lr=0.01), fine, steps=1)
    for a, b, start in zip(rough, fine, matrices(), strict=True):
        assert 0 < (a - b).norm() < 0.2 * (b - start).norm()


@pytest.mark.parametrize("shape", [(4, 6, 6), (2, 5, 9), (3, 9, 5)])
def test_singular_values_come_near_one(shape: tuple[int, int, int]) -> None:
    found = orthogonalized(torch.randn(shape, generator=torch.Generator().manual_seed(2)), eps=1e-7)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.79 and values.max() < 1.21


def test_one_matrix_does_not_depend_on_the_others() -> None:
    together = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(3))
    alone = torch.cat([orthogonalized(one[None], eps=1e-7) for one in together])
    torch.testing.assert_close(orthogonalized(together, eps=1e-7), alone)


def test_a_long_matrix_takes_the_steps_of_any_other() -> None:
    scales = 10.0 ** -torch.arange(6)[:, None]
    long = torch.randn(2, 6, 40, generator=torch.Generator().manual_seed(4)) * scales
    plain = orthogonalized(long.double(), eps=1e-7)  # no square factor in float64
    torch.testing.assert_close(orthogonalized(long, eps=1e-7), plain.float(), rtol=1e-3, atol=1e-3)


def test_matrices_without_a_gradient_stay() -> None:
    parameters = matrices()
    before = [p.detach().clone() for p in parameters]
    optimizer = StackedMuon(parameters, dtype=torch.float32, lr=0.1)
    parameters[1].grad = torch.ones_like(parameters[1])
    optimizer.step()
    assert [bool((p != b).any()) for p, b in zip(parameters, before, strict=True)] == [
        False,
        True,
        False,
        False,
        False,
    ]


def test_equal_shapes_move_together() -> None:
    assert [len(group) for group in same_shapes(matrices())] == [2, 1, 1, 1]


def test_its_state_is_that_of_torch() -> None:
    parameters = matrices()
    walk(StackedMuon(parameters, dtype=torch.float32, lr=0.1), parameters, steps=1)
    taken = StackedMuon(parameters, dtype=torch.float32, lr=0.1)
    source = Muon(parameters, lr=0.1)
    walk(source, parameters, steps=1)
    taken.load_state_dict(source.state_dict())
    assert {name for state in taken.state.values() for name in state} == {"momentum_buffer"}


def test_a_closure_is_refused() -> None:
    with pytest.raises(ValueError, match="closure"):
        StackedMuon(matrices(), dtype=torch.float32).step(lambda: 0)
