"""Entropy coding: exact, in integers, and the published algorithm."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textok.codec import CodePrior
from textok.codec.coding import (
    PHASES,
    TOTAL,
    UNIT,
    Table,
    decoder_of,
    encode,
    gaussian_table,
    pack,
    table_of,
    unpack,
)

FIRST_TABLE = [1, 1, 39, 3421, 92113, 960909, 3942377, 6421652, 4168375, 1074679, 109044, 4292, 55, 1, 1, 256]

weights = st.lists(st.integers(0, 1 << 30), min_size=2, max_size=40)


def reference(steps: list[tuple[Table, np.ndarray]]) -> bytes:
    """rANS as docs/ttk.md describes it, in Python's whole numbers."""
    state, words = 0, []
    for table, symbols in reversed(steps):
        share = table.frequencies.tolist()
        below = [0, *np.cumsum(share).tolist()]
        for symbol in reversed(symbols.tolist()):
            if state >> 40 >= share[symbol]:
                words.append(state & 0xFFFFFFFF)
                state >>= 32
            state = (state // share[symbol] << 24) + state % share[symbol] + below[symbol]
    words += [state & 0xFFFFFFFF, state >> 32]
    return b"".join(word.to_bytes(4, "little") for word in words).rstrip(b"\0")


@given(weights)
def test_frequencies_sum_up_and_leave_nothing_out(numbers: list[int]) -> None:
    table = table_of(numbers)
    assert table.frequencies.sum() == TOTAL and table.frequencies.min() >= 1
    expected = np.array(numbers) / max(1, sum(numbers)) * TOTAL
    if sum(numbers):
        assert np.abs(table.frequencies - expected).max() <= 2 * len(numbers) + 1


@given(st.lists(st.tuples(weights, st.lists(st.integers(0, 10**6), max_size=20)), max_size=6))
def test_what_goes_in_comes_out_and_is_plain_rans(parts: list[tuple[list[int], list[int]]]) -> None:
    steps = [(table_of(numbers), np.array(drawn, dtype=np.int64) % len(numbers)) for numbers, drawn in parts]
    data = encode(steps)
    assert data == reference(steps)
    decoder = decoder_of(data)
    for table, symbols in steps:
        assert decoder.decode(table.model, len(symbols)).tolist() == symbols.tolist()
    assert decoder.is_empty()


def test_a_string_is_as_long_as_its_information() -> None:
    table, symbols = (
        table_of([1, 2, 4, 9]),
        np.random.default_rng(0).choice(4, 4000, p=[1 / 16, 2 / 16, 4 / 16, 9 / 16]),
    )
    bits = (24 - np.log2(table.frequencies[symbols])).sum()
    assert abs(8 * len(encode([(table, symbols)])) - bits) < 32


def test_leftovers_and_trailing_zeros_are_refused() -> None:
    prior = CodePrior(levels=(7,), tokens=2)
    data, escapes = pack([np.array([[digit]]) for digit in range(7)], prior)
    assert len(unpack(data, escapes, count=7, prior=prior)) == 7
    with pytest.raises(ValueError, match="trailing zeros"):
        unpack(data + b"\0", escapes, count=7, prior=prior)
    with pytest.raises(ValueError, match="another length"):
        unpack(data + b"\1\2\3\4\5\6\7\x08", escapes, count=7, prior=prior)


def test_integers_outside_a_table_escape_or_are_refused() -> None:
    values = np.array([-9, -2, 0, 2, 3])
    table = Table(frequencies=table_of([1, 5, 9, 5, 1, 1]).frequencies, low=-2, escape=True)
    assert table.symbols(values).tolist() == [5, 0, 2, 4, 5]
    assert table.is_escape(table.symbols(values)).tolist() == [True, False, False, False, True]
    with pytest.raises(ValueError, match="does not hold"):
        table_of([1, 1, 1]).symbols(values)


@pytest.mark.parametrize(("deviation", "step"), [(UNIT, UNIT // 3), (300, UNIT), (5 * UNIT, UNIT // 4)])
@pytest.mark.parametrize("phase", [0, 5, PHASES - 1])
def test_gaussian_tables_hold_gaussian_masses(deviation: int, step: int, phase: int) -> None:
    table = gaussian_table(deviation, step, phase)
    mean = ((2 * phase + 1) / (2 * PHASES) - 0.5) * step
    edges = [((low + table.low - 0.5) * step - mean) / deviation for low in range(len(table.frequencies))]
    masses = np.diff([0.5 * (1 + math.erf(edge / math.sqrt(2))) for edge in edges])
    assert (
        np.abs(table.frequencies[:-1] / TOTAL - masses).max() < 1.5e-3
    )  # the points are 1/512 of a deviation apart
    assert 0 < table.frequencies[-1] < TOTAL / 10_000


def test_the_first_table_of_the_format_never_changes() -> None:
    table = gaussian_table(UNIT, UNIT, 8)
    assert (table.low, len(table.frequencies)) == (-7, 16)
    assert table.frequencies.tolist() == FIRST_TABLE


def test_a_step_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        gaussian_table(UNIT, 3, 0)
