import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textok.data.ordering import draw, epoch_order

lengths = st.lists(st.integers(0, 12), min_size=1, max_size=9)
windows = st.one_of(st.none(), st.integers(1, 12))


@settings(deadline=None)
@given(lengths=lengths, seed=st.integers(0, 2**40), epoch=st.integers(0, 1000), window=windows)
def test_an_epoch_is_a_permutation_and_a_pure_function(lengths, seed, epoch, window):
    order = epoch_order(lengths, seed=seed, epoch=epoch, window=window)
    assert sorted(order.tolist()) == list(range(sum(lengths)))
    assert np.array_equal(order, epoch_order(lengths, seed=seed, epoch=epoch, window=window))


def test_epochs_and_seeds_differ():
    orders = [epoch_order([50, 50], seed=s, epoch=e) for s, e in ((0, 0), (0, 1), (1, 0))]
    assert len({order.tobytes() for order in orders}) == 3


@settings(deadline=None)
@given(window=st.integers(1, 5), epoch=st.integers(0, 20))
@pytest.mark.slow
def test_a_window_mixes_its_shards_only(window, epoch):
    order = epoch_order([10] * 10, seed=0, epoch=epoch, window=window)
    for first in range(0, 100, 10 * window):
        assert len(set((order[first : first + 10 * window] // 10).tolist())) == min(window, 10 - first // 10)


def test_draws_are_even_and_depend_on_every_part():
    counts = np.bincount([draw(3, 0, epoch, "key") for epoch in range(3000)])
    assert counts.min() > 900
    assert len({draw(10**9, 1, 2), draw(10**9, 12), draw(10**9, 2, 1)}) == 3
