"""Entropy coding: asymmetric numeral systems over tables of integer frequencies (by ``constriction``).

A table gives every symbol a frequency of at least 1; they sum to exactly 2^24. The coder takes probabilities as
floating-point numbers, and hands symbol i a share of 1 + floor(p_i * (2^24 - n) / sum p). Given p_i = f_i - 1, which
sum to 2^24 - n, that share is f_i itself, without any rounding: what is coded depends on integers alone, on every
machine. Duda, "Asymmetric numeral systems", arXiv 1311.2540.

Tables of a Gaussian are computed with integers and correctly rounded decimals only: ``math.erf`` and ``numpy.exp``
differ in the last bit between machines, which an entropy coder does not forgive; the exponential of the ``decimal``
module is correctly rounded everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from functools import cache, cached_property, lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

PRECISION = 24
TOTAL = 1 << PRECISION
UNIT = 4096
"""All lengths here and in probability models are integers in 1/4096 of the latents' unit scale."""
PHASES = 16
RESOLUTION = 512  # points per standard deviation
REACH = 6  # standard deviations that have symbols of their own
MAX_RADIUS = 4096
_MASS_UNIT = 1 << 18
_ESCAPES = 1 << 16  # one integer in this many is expected outside


@dataclass(frozen=True, eq=False)
class Table:
    """Frequencies of the integers ``low``, ``low + 1``, ...; with ``escape`` the last stands for all others."""

    frequencies: Int[ndarray, "n"]
    low: int = 0
    escape: bool = False

    def __post_init__(self) -> None:
        if len(self.frequencies) < 2 or self.frequencies.min() < 1 or self.frequencies.sum() != TOTAL:
            raise ValueError(f"frequencies: expected two or more from 1 on that sum to {TOTAL}")

    @cached_property
    def model(self) -> Any:
        """The coder's form of it."""
        weights = (self.frequencies - 1).astype(np.float32)  # below 2^24: exact
        return library().stream.model.Categorical(weights, perfect=False)

    def symbols(self, values: Int[ndarray, "m"]) -> Int[ndarray, "m"]:
        """Integers as symbols."""
        places = values - self.low
        outside = (places < 0) | (places >= len(self.frequencies) - self.escape)
        if not self.escape and outside.any():
            raise ValueError(f"values: got {values[outside][0]}, which this table does not hold")
        return np.where(outside, len(self.frequencies) - 1, places)

    def is_escape(self, symbols: Int[ndarray, "m"]) -> Bool[ndarray, "m"]:
        """Which symbols say nothing but "another integer"."""
        return (symbols == len(self.frequencies) - 1) & self.escape


@dataclass(frozen=True, eq=False)
class Encoder:
    """Collects symbols in the order in which they will be decoded."""

    _steps: list[tuple[Table, Int[ndarray, "m"]]] = field(default_factory=list)

    def put(self, table: Table, symbols: Int[ndarray, "m"]) -> None:
        """Add some symbols of one table."""
        self._steps.append((table, symbols))

    def finish(self) -> bytes:
        """The bytes: the coder is a stack, so the last symbol goes in first. Trailing zeros are left out."""
        coder = library().stream.stack.AnsCoder()
        for table, symbols in reversed(self._steps):
            coder.encode_reverse(symbols.astype(np.int32), table.model)
        return coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")


class Decoder:
    """Reads symbols back, from the same tables in the same order; ``ValueError`` for what no encoder writes."""

    def __init__(self, data: bytes) -> None:
        if data.endswith(b"\0"):
            raise ValueError("damaged: coded data with trailing zeros")
        words = np.frombuffer(data + bytes(-len(data) % 4), dtype="<u4").astype(np.uint32)
        self._coder = library().stream.stack.AnsCoder(words)

    def take(self, table: Table, count: int) -> Int[ndarray, "m"]:
        """The next ``count`` symbols of a table."""
        return self._coder.decode(table.model, count).astype(np.int64)

    def finish(self) -> None:
        """Check that everything was decoded; if not, the data is damaged, or the tables differ."""
        if not self._coder.is_empty():
            raise ValueError("damaged: coded data of another length than its symbols")


def table_of(weights: Int[ndarray, "n"] | Sequence[int], *, low: int = 0, escape: bool = False) -> Table:
    """A table in proportion to integer weights of zero or more, in integers throughout."""
    weights = np.asarray(weights, dtype=np.int64)
    free = TOTAL - len(weights)
    total = max(1, int(weights.sum()))
    if total >= 1 << 38:
        raise ValueError(f"weights: got a sum of {total}, expected less than 2^38")
    frequencies = 1 + weights * free // total
    frequencies[int(weights.argmax())] += TOTAL - int(frequencies.sum())
    return Table(frequencies, low=low, escape=escape)


def uniform(count: int) -> Table:
    """The symbols 0 to ``count`` - 1, all alike."""
    return table_of(np.ones(max(2, count), dtype=np.int64))


@lru_cache(maxsize=1 << 14)
def gaussian_table(deviation: int, step: int, phase: int) -> Table:
    """Table of how many steps a Gaussian value lies from the step next to its mean.

    Args:
        deviation: the standard deviation, in 1/4096.
        step: the quantization step, in 1/4096.
        phase: where the mean lies within its step, from 0 at its lower edge to PHASES - 1 at its upper one.
    """
    reach = radius(deviation, step)
    # Edges of the bins, less the mean, in 1/(2 PHASES) of a step: the mean is in the middle of its phase.
    edges = (2 * np.arange(-reach, reach + 2) - 1) * PHASES - (2 * phase + 1 - PHASES)
    points = edges * (step * RESOLUTION) // (2 * PHASES * deviation)
    mass = _mass()
    middle = len(mass) // 2
    weights = np.diff(mass[np.clip(points + middle, 0, len(mass) - 1)])
    escape = max(1, int(weights.sum()) // _ESCAPES)
    return table_of(np.append(weights, escape), low=-reach, escape=True)


def radius(deviation: int, step: int) -> int:
    """How many steps to each side have symbols of their own; ``ValueError`` for a step that is too small."""
    steps = -(-REACH * deviation // step) + 1
    if steps > MAX_RADIUS:
        raise ValueError(f"step: got {step / UNIT:.2g} of a unit, which is too small; take a larger one")
    return steps


@cache
def _mass() -> Int[ndarray, "n"]:
    """Cumulative Gaussian mass from -(REACH + 2) deviations on, in equal small steps; integers."""
    context, edge = Context(prec=25), (REACH + 2) * RESOLUTION
    scale = Decimal(2 * RESOLUTION * RESOLUTION)
    half = [int(context.exp(-(Decimal(i * i) / scale)) * _MASS_UNIT) for i in range(edge + 1)]
    return np.cumsum(np.array(half[:0:-1] + half, dtype=np.int64))


def library() -> ModuleType:
    """The package that codes; ``ValueError`` says how it is installed when it is not."""
    try:
        import constriction
    except ImportError as error:
        raise ValueError(
            "compressed files need the package constriction: pip install 'open-textok[codec]'"
        ) from error
    return constriction
