"""Nearest neighbours by cosine distance, and the copying check."""

import pytest
import torch

from textok.evaluation.metrics import nearest_neighbours as module
from textok.evaluation.metrics.nearest_neighbours import copying_row, nearest_neighbours


def vectors(count, seed, *, dim=16):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def test_directions_by_hand():
    references = torch.tensor([[0.0, 2.0], [3.0, 3.0], [-5.0, 0.0]])
    found = nearest_neighbours(torch.tensor([[7.0, 0.0]]), references, count=3)
    assert found.indices.tolist() == [[1, 0, 2]]
    assert found.distances[0].tolist() == pytest.approx([1 - 0.5**0.5, 1.0, 2.0])


def test_equals_all_distances_at_once(monkeypatch):
    queries, references = vectors(37, 0), vectors(50, 1)
    cosine = torch.nn.functional.cosine_similarity(
        queries[:, None].double(), references[None].double(), dim=2
    )
    values, indices = (1 - cosine).sort(dim=1)
    monkeypatch.setattr(module, "_ROWS", 8)
    found = nearest_neighbours(queries, references, count=4)
    assert torch.equal(found.indices, indices[:, :4])
    torch.testing.assert_close(found.distances, values[:, :4])


def test_copies_are_found_and_honest_pictures_are_not():
    train, held_out, honest = vectors(200, 0), vectors(300, 1), vectors(300, 2)
    copied = honest.clone()
    copied[:60] = 2.5 * train[:60] + 1e-3  # brighter copies
    row = copying_row(copied, train, held_out)
    assert 0.2 <= row["copied_share"] < 0.25
    clean = copying_row(honest, train, held_out)
    assert clean["copied_share"] < 0.04
    assert clean["nearest_train_median"] == pytest.approx(clean["nearest_train_median_held_out"], rel=0.1)
    assert row["nearest_train_median"] < clean["nearest_train_median"]


def test_more_neighbours_than_references_are_refused():
    with pytest.raises(ValueError, match="count 4 of 3"):
        nearest_neighbours(vectors(2, 0), vectors(3, 1), count=4)
