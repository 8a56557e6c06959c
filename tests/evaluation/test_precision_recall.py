"""Precision and recall on sets whose answer is known."""

import pytest
import torch
from torch import Tensor

from textok.evaluation.metrics import sets as module
from textok.evaluation.metrics.sets import precision_recall


def cloud(count, seed, *, at=0.0, dim=8):
    return at + torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def on_a_line(*places: float) -> Tensor:
    return torch.tensor([float(place) for place in places])[:, None]


def test_a_line_by_hand():
    """Real 0 1 2 10 with one neighbour: balls of radius 1 1 1 8. Made 1.5 3 30 with radii 1.5 1.5 27."""
    found = precision_recall(on_a_line(0, 1, 2, 10), on_a_line(1.5, 3, 30), neighbours=1)
    # 1.5 is near 1; 3 is near 10; 30 is in no ball. 0 and 10 are in the balls of 1.5 and 30.
    assert found == (2 / 3, 1.0)


def test_the_same_set_has_both_and_far_sets_have_neither():
    assert precision_recall(cloud(50, 0), cloud(50, 0)) == (1.0, 1.0)
    assert precision_recall(cloud(50, 0), cloud(50, 1, at=100.0)) == (0.0, 0.0)


def test_half_the_made_off_halves_precision_and_one_mode_of_two_halves_recall():
    real = torch.cat((cloud(60, 0), cloud(60, 1, at=100.0)))
    half_off = torch.cat((real, cloud(120, 2, at=-300.0)))
    assert precision_recall(real, half_off) == (0.5, 1.0)
    assert precision_recall(real, real[:60]) == (1.0, 0.5)


def test_equals_distances_in_one_piece(monkeypatch):
    real, made = cloud(70, 0), cloud(45, 1, at=0.4)
    within = (
        torch.cdist(real.double(), real.double()).sort(dim=1).values[:, 3]
    )  # column 0 is the vector itself
    inside = (torch.cdist(made.double(), real.double()) <= within).any(dim=1)
    monkeypatch.setattr(module, "_ROWS", 16)
    assert precision_recall(real, made)[0] == pytest.approx(inside.double().mean().item())
    assert 0.2 < inside.double().mean() < 0.98


def test_more_neighbours_than_vectors_are_refused():
    with pytest.raises(ValueError, match="precision and recall"):
        precision_recall(cloud(3, 0), cloud(9, 1))
