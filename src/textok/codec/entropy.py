"""Entropy coding: asymmetric numeral systems over tables of integer frequencies (by ``constriction``).

A table gives every symbol a frequency of at least 1; they sum to exactly 2^24. The coder takes probabilities as
floating-point numbers, and hands symbol i a share of 1 + floor(p_i * (2^24 - n) / sum p). Given p_i = f_i - 1, which
sum to 2^24 - n, that share is f_i itself, without any rounding: what is coded depends on integers alone, on every
machine. Duda, "Asymmetric numeral systems", arXiv 1311.2540.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

PRECISION = 24
TOTAL = 1 << PRECISION


@dataclass(frozen=True, eq=False)
class Table:
    """Frequencies of the integers ``low``, ``low + 1``, ...; with ``escape`` the last stands for all others."""

    frequencies: Int[ndarray, "n"]
    low: int = 0
    escape: bool = False

    def __post_init__(self) -> None:
        if len(self.frequencies) < 2 or self.frequencies.min() < 1 or self.frequencies.sum() != TOTAL:
            raise ValueError(f"frequencies: expected two or more from 1 on that sum to {TOTAL}")

    @property
    def escape_symbol(self) -> int:
        """The symbol of integers outside the table."""
        return len(self.frequencies) - 1

    @cached_property
    def model(self) -> Any:
        """The coder's form of it."""
        weights = (self.frequencies - 1).astype(np.float32)  # below 2^24: exact
        return library().stream.model.Categorical(weights, perfect=False)

    def symbols(self, values: Int[ndarray, "m"]) -> Int[ndarray, "m"]:
        """Integers as symbols."""
        found = values - self.low
        outside = (found < 0) | (found >= len(self.frequencies) - self.escape)
        if not self.escape and outside.any():
            raise ValueError(f"values: got {values[outside][0]}, which this table does not hold")
        return np.where(outside, self.escape_symbol, found)

    def is_escape(self, symbols: Int[ndarray, "m"]) -> Any:
        """Which symbols say nothing but "another integer"."""
        return (symbols == self.escape_symbol) if self.escape else np.zeros(len(symbols), dtype=bool)


@dataclass(frozen=True, eq=False)
class Encoder:
    """Collects symbols in the order in which they will be decoded."""

    _steps: list[tuple[Table, Int[ndarray, "m"]]] = field(default_factory=list)

    def put(self, table: Table, symbols: Int[ndarray, "m"]) -> None:
        """Some symbols of one table."""
        self._steps.append((table, symbols))

    def finish(self) -> bytes:
        """The bytes: the coder is a stack, so the last symbol goes in first. Trailing zeros are left out."""
        coder = library().stream.stack.AnsCoder()
        for table, symbols in reversed(self._steps):
            coder.encode_reverse(symbols.astype(np.int32), table.model)
        return coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")


class Decoder:
    """Reads symbols back, given the same tables in the same order.

    Raises:
        ValueError: for bytes that no encoder writes.
    """

    def __init__(self, data: bytes) -> None:
        if data.endswith(b"\0"):
            raise ValueError("damaged: coded data with trailing zeros")
        words = np.frombuffer(data + bytes(-len(data) % 4), dtype="<u4").astype(np.uint32)
        self._coder = library().stream.stack.AnsCoder(words)

    def take(self, table: Table, count: int) -> Int[ndarray, "m"]:
        """The next ``count`` symbols of a table."""
        return self._coder.decode(table.model, count).astype(np.int64)

    def finish(self) -> None:
        """Raise ``ValueError`` unless everything was decoded: else the data is damaged, or the tables differ."""
        if not self._coder.is_empty():
            raise ValueError("damaged: coded data of another length than its symbols")


def table_of(weights: Int[ndarray, "n"] | Sequence[int], *, low: int = 0, escape: bool = False) -> Table:
    """A table in proportion to integer weights of zero or more; in integers throughout."""
    weights = np.asarray(weights, dtype=np.int64)
    free = TOTAL - len(weights)
    total = max(1, int(weights.sum()))
    if total >= 1 << 38:
        raise ValueError(f"weights: got a sum of {total}; expected less than 2^38")
    frequencies = 1 + weights * free // total
    frequencies[int(weights.argmax())] += TOTAL - int(frequencies.sum())
    return Table(frequencies, low=low, escape=escape)


def uniform(count: int) -> Table:
    """Symbols 0 to ``count`` - 1 alike."""
    return table_of(np.ones(max(2, count), dtype=np.int64))


def library() -> ModuleType:
    """The package that codes.

    Raises:
        ValueError: when it is not installed; says how it would be.
    """
    try:
        import constriction
    except ImportError as error:
        raise ValueError(
            "compressed files need the package constriction: pip install 'open-textok[codec]'"
        ) from error
    return constriction
