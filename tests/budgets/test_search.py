"""Searches on curves, the share that goes beyond, and calibration: properties on invented curves."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textok.budgets.search import (
    Allowance,
    Bounds,
    Choice,
    Goal,
    KnownCurves,
    Search,
    bisection,
    calibrate,
    choose,
    exhaustive,
)

SEARCHES = {"exhaustive": exhaustive, "bisection": bisection}
LOW, HIGH, LONGEST = 3, 9, 14


def curves(
    count: int, *, seed: int = 0, monotone: bool = True, first: int = LOW, last: int = LONGEST
) -> KnownCurves:
    generator = torch.Generator().manual_seed(seed)
    steps = torch.rand(count, last - first + 1, generator=generator)
    start = 10 + 6 * torch.rand(count, 1, generator=generator)
    if monotone:
        return KnownCurves(start + steps.cumsum(dim=1), first=first)
    return KnownCurves(start + 4 * steps, first=first)


def negated(known: KnownCurves) -> KnownCurves:
    return KnownCurves(-known.quality, first=known.first)


def chosen(
    known: KnownCurves,
    threshold: float,
    *,
    search: Search = exhaustive,
    share: float = 0.0,
    lower: bool = False,
) -> Choice:
    bounds = Bounds(low=LOW, high=HIGH, overflow=LONGEST)
    return choose(known, Goal(threshold, lower), bounds, search=search, allowance=Allowance(share))


class Counting:
    """Curves that count looks."""

    def __init__(self, known: KnownCurves) -> None:
        self.known, self.looks = known, torch.zeros(len(known), dtype=torch.long)

    def __len__(self) -> int:
        return len(self.known)

    def at(self, rows: torch.Tensor, budgets: torch.Tensor) -> torch.Tensor:
        self.looks += torch.bincount(rows, minlength=len(self))
        return self.known.at(rows, budgets)


thresholds = st.floats(9, 26)
seeds = st.integers(0, 10_000)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, threshold=thresholds, monotone=st.booleans(), name=st.sampled_from(sorted(SEARCHES)))
def test_budgets_stay_in_range_and_flags_tell_the_truth(
    seed: int, threshold: float, monotone: bool, name: str
) -> None:
    known = curves(12, seed=seed, monotone=monotone)
    found = chosen(known, threshold, search=SEARCHES[name])
    assert bool(((found.budgets >= LOW) & (found.budgets <= HIGH)).all())
    at = known.at(torch.arange(12), found.budgets).double()
    torch.testing.assert_close(found.quality.double(), at)
    assert torch.equal(found.reached, at >= threshold)
    assert bool((found.budgets[~found.reached] == HIGH).all())


@settings(max_examples=30, deadline=None)
@given(seed=seeds, threshold=thresholds)
def test_the_oracle_finds_the_fewest_tokens(seed: int, threshold: float) -> None:
    known = curves(12, seed=seed, monotone=False)
    found = chosen(known, threshold)
    for row, budget, reached in zip(
        known.quality.double().tolist(), found.budgets.tolist(), found.reached.tolist(), strict=True
    ):
        enough = [k for k in range(LOW, HIGH + 1) if row[k - LOW] >= threshold]
        assert (budget, reached) == ((enough[0], True) if enough else (HIGH, False))


@settings(max_examples=30, deadline=None)
@given(
    seed=seeds,
    low=thresholds,
    more=st.floats(0, 5),
    monotone=st.booleans(),
    name=st.sampled_from(sorted(SEARCHES)),
)
def test_a_higher_quality_never_takes_fewer_tokens(
    seed: int, low: float, more: float, monotone: bool, name: str
) -> None:
    known = curves(12, seed=seed, monotone=monotone)
    first, second = (chosen(known, t, search=SEARCHES[name]) for t in (low, low + more))
    assert bool((first.budgets <= second.budgets).all())


@settings(max_examples=30, deadline=None)
@given(seed=seeds, threshold=thresholds, share=st.sampled_from([0.0, 0.25]), lower=st.booleans())
def test_bisection_is_the_oracle_where_quality_only_rises(
    seed: int, threshold: float, share: float, lower: bool
) -> None:
    known = curves(12, seed=seed)
    known, threshold = (negated(known), -threshold) if lower else (known, threshold)
    one, other = (
        chosen(known, threshold, search=search, share=share, lower=lower) for search in SEARCHES.values()
    )
    assert torch.equal(one.budgets, other.budgets) and torch.equal(one.reached, other.reached)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, threshold=thresholds)
def test_a_distance_is_a_quality_turned_round(seed: int, threshold: float) -> None:
    known = curves(12, seed=seed, monotone=False)
    up, down = chosen(known, threshold), chosen(negated(known), -threshold, lower=True)
    assert torch.equal(up.budgets, down.budgets) and torch.equal(up.reached, down.reached)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, threshold=thresholds, monotone=st.booleans(), high=st.integers(LOW, LONGEST))
def test_bisection_looks_log2_times(seed: int, threshold: float, monotone: bool, high: int) -> None:
    counting = Counting(curves(8, seed=seed, monotone=monotone))
    bisection(counting, torch.arange(8), low=LOW, high=high, goal=Goal(threshold))
    assert int(counting.looks.max()) <= math.ceil(math.log2(high - LOW + 2))


# --- beyond ---------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(seed=seeds, threshold=thresholds, share=st.floats(0.01, 1.0), split=st.integers(1, 29))
def test_no_more_than_the_share_goes_beyond_and_batches_change_nothing(
    seed: int, threshold: float, share: float, split: int
) -> None:
    known, bounds = curves(30, seed=seed), Bounds(low=LOW, high=HIGH, overflow=LONGEST)
    whole = chosen(known, threshold, share=share)
    allowance, parts = Allowance(share), []
    for rows in (slice(None, split), slice(split, None)):
        part = KnownCurves(known.quality[rows], first=LOW)
        parts.append(choose(part, Goal(threshold), bounds, search=exhaustive, allowance=allowance))
    assert torch.equal(whole.budgets, torch.cat([part.budgets for part in parts]))
    beyond = whole.budgets > HIGH
    seen = torch.arange(1, 31)
    assert bool((beyond.cumsum(0) <= share * seen + 1e-6).all())
    assert bool(whole.reached[beyond].all()) and bool((whole.budgets <= LONGEST).all())
    strict = chosen(known, threshold)
    assert torch.equal(whole.budgets[~beyond], strict.budgets[~beyond])


def test_all_that_can_reach_it_go_beyond_where_the_share_is_one() -> None:
    known = curves(30, seed=5)
    found = chosen(known, 18.0, share=1.0)
    assert torch.equal(found.reached, (known.quality.double() >= 18.0).any(dim=1))
    assert bool((found.budgets > HIGH).any()) and bool((found.budgets[~found.reached] == HIGH).all())


# --- calibration ----------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(
    seed=seeds,
    mean=st.floats(LOW, HIGH),
    lower=st.booleans(),
    share=st.sampled_from([0.0, 0.1]),
    name=st.sampled_from(sorted(SEARCHES)),
)
def test_calibration_meets_the_mean(seed: int, mean: float, lower: bool, share: float, name: str) -> None:
    known = negated(curves(200, seed=seed)) if lower else curves(200, seed=seed)
    bounds = Bounds(low=LOW, high=HIGH, overflow=LONGEST)
    found = calibrate(known, bounds, mean=mean, lower_is_better=lower, search=SEARCHES[name], share=share)
    again = chosen(known, found.threshold, search=SEARCHES[name], share=share, lower=lower)
    assert float(again.budgets.double().mean()) == pytest.approx(found.mean_tokens)
    assert (
        abs(found.mean_tokens - mean) < 0.1
    )  # one picture's step is (HIGH - LOW) / 200 at most, but for shares


@pytest.mark.slow
def test_other_pictures_of_the_kind_meet_the_mean_within_the_stated_error() -> None:
    bounds = Bounds(low=LOW, high=HIGH, overflow=HIGH)
    misses = []
    for seed in range(25):
        found = calibrate(curves(60, seed=seed), bounds, mean=6.0, lower_is_better=False, search=exhaustive)
        others = chosen(curves(1000, seed=1000 + seed), found.threshold)
        misses.append(abs(float(others.budgets.double().mean()) - 6.0) > 2 * found.standard_error)
    assert 0 < found.standard_error < 0.5 and found.pictures == 60
    assert sum(misses) <= 4  # 5 % of 25 is about one


def test_calibration_refuses_what_it_cannot_use() -> None:
    bounds, few = Bounds(low=LOW, high=HIGH, overflow=HIGH), curves(1)
    with pytest.raises(ValueError, match="got 1 pictures"):
        calibrate(few, bounds, mean=4.0, lower_is_better=False, search=exhaustive)
    broken = KnownCurves(torch.full((4, 12), torch.nan), first=LOW)
    with pytest.raises(ValueError, match="finite"):
        calibrate(broken, bounds, mean=4.0, lower_is_better=False, search=exhaustive)
