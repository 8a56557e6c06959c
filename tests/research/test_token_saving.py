"""Tokens saved: the curve without text, read at the quality with text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.captions.token_saving import matching_budget, token_saving


def test_half_the_tokens_for_the_same_quality_is_a_factor_of_two() -> None:
    without = {1: 10.0, 2: 12.0, 4: 14.0, 8: 16.0}
    with_text = {k: quality + 2 for k, quality in without.items()}
    saving = token_saving(with_text, without, lower_is_better=False)
    assert [saving[k].factor for k in (1, 2, 4)] == pytest.approx([2, 2, 2])
    assert str(saving[8]) == "> 1.00", "18 dB takes more than 8 tokens without text"


def test_beyond_the_curve_there_is_a_bound() -> None:
    without = {2: 100.0, 8: 50.0}
    rising = {k: -value for k, value in without.items()}
    for with_text, bounds in (({2: 40.0, 8: 30.0}, ["> 4.00", "> 1.00"]), ({4: 120.0}, ["< 0.50"])):
        saving = token_saving(with_text, without, lower_is_better=True)
        assert [str(found) for found in saving.values()] == bounds
        turned = {k: -value for k, value in with_text.items()}
        assert token_saving(turned, rising, lower_is_better=False) == saving
    level = {2: 0.0, 8: 0.0}
    assert str(token_saving(level, level, lower_is_better=False)[8]) == "0.25", "two tokens do as well"


def test_a_falling_metric_works_the_same_way() -> None:
    saving = token_saving({2: 75.0, 4: 40.0}, {2: 100.0, 8: 50.0}, lower_is_better=True)
    assert saving[2].factor == pytest.approx(2.0) and str(saving[4]) == "> 2.00"


def test_a_dip_is_no_saving() -> None:
    """Where the smallest budget without text is better already, a later fall through the quality says nothing."""
    dips = {1: 0.012, 2: 0.013, 4: 0.004, 8: 0.009}
    saving = token_saving({1: 0.007, 4: 0.0125, 8: 0.012}, dips, lower_is_better=False)
    assert str(saving[1]) == "< 1.00"
    assert saving[4].factor == pytest.approx(2**0.5 / 4), "the first rise to it"
    assert saving[8].factor == pytest.approx(1 / 8)
    assert matching_budget({1: 5.0, 2: 3.0, 4: 9.0}, 6.0) == pytest.approx(2 * 2**0.5)


@given(st.lists(st.floats(0.1, 5), min_size=3, max_size=6))
def test_a_curve_matches_itself_at_every_budget(steps: list[float]) -> None:
    curve, value = {}, 10.0
    for place, step in enumerate(steps):
        value += step
        curve[2**place] = value
    for k, found in token_saving(curve, curve, lower_is_better=False).items():
        assert found.factor == pytest.approx(1.0) and not found.bound, k
