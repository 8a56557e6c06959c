"""Nearest neighbours by cosine distance, and the copying check."""

import pytest
import torch

from textok.evaluation.metrics import sets as module
from textok.evaluation.metrics.sets import copying_row, nearest_neighbours


def vectors(count, seed, *, dim=16):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def test_directions_by_hand():
    references = torch.tensor([[0.0, 2.0], [3.0, 3.0], [-5.0, 0.0]])
    nearest = nearest_neighbours(torch.tensor([[7.0, 0.0], [-1.0, 0.0]]), references)
    assert nearest.indices.tolist() == [1, 2]
    assert nearest.distances.tolist() == pytest.approx([1 - 0.5**0.5, 0.0])


def test_equals_all_distances_at_once(monkeypatch):
    queries, references = vectors(37, 0), vectors(50, 1)
    cosine = torch.nn.functional.cosine_similarity(
        queries[:, None].double(), references[None].double(), dim=2
    )
    values, indices = (1 - cosine).min(dim=1)
    monkeypatch.setattr(module, "_ROWS", 8)
    nearest = nearest_neighbours(queries, references)
    assert torch.equal(nearest.indices, indices)
    torch.testing.assert_close(nearest.distances, values)


def test_copies_are_found_and_honest_pictures_are_not():
    train, held_out, honest = vectors(200, 0), vectors(300, 1), vectors(300, 2)
    copied = honest.clone()
    copied[:60] = 2.5 * train[:60] + 1e-3  # brighter copies
    distances = [nearest_neighbours(pictures, train).distances for pictures in (copied, honest, held_out)]
    row = copying_row(distances[0], distances[2])
    assert 0.2 <= row["copied_share"] < 0.25
    clean = copying_row(distances[1], distances[2])
    assert clean["copied_share"] < 0.04
    assert clean["nearest_train_median"] == pytest.approx(clean["nearest_train_median_held_out"], rel=0.1)
    assert row["nearest_train_median"] < clean["nearest_train_median"]
