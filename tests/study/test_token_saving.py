"""Tokens saved: the curve without text, read at the quality with text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textok.study.token_saving import matching_budget, token_saving


def test_half_the_tokens_for_the_same_quality_is_a_factor_of_two() -> None:
    without = {1: 10.0, 2: 12.0, 4: 14.0, 8: 16.0}
    with_text = {k: quality + 2 for k, quality in without.items()}
    saving = token_saving(with_text, without)
    assert [saving[k] for k in (1, 2, 4)] == pytest.approx([2, 2, 2])
    assert saving[8] is None, "18 dB lies beyond the curve without text"


def test_a_falling_metric_works_the_same_way() -> None:
    assert matching_budget({2: 100.0, 8: 50.0}, 75.0) == pytest.approx(4.0)
    assert matching_budget({2: 100.0, 8: 50.0}, 40.0) is None


@given(st.lists(st.floats(0.1, 5), min_size=3, max_size=6))
def test_a_curve_matches_itself_at_every_budget(steps: list[float]) -> None:
    curve, value = {}, 10.0
    for place, step in enumerate(steps):
        value += step
        curve[2**place] = value
    for k, factor in token_saving(curve, curve).items():
        assert factor == pytest.approx(1.0), k
