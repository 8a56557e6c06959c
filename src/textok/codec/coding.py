"""The tokens of some pictures as one coded string, and back: asymmetric numeral systems over tables of frequencies.

The coder is that of ``constriction`` (Duda, "Asymmetric numeral systems", arXiv 1311.2540). A table gives every symbol
a frequency of at least 1; they sum to exactly 2^24. The coder takes probabilities as floating-point numbers, and hands
symbol i a share of 1 + floor(p_i * (2^24 - n) / sum p). Given p_i = f_i - 1, which sum to 2^24 - n, that share is f_i
itself, without any rounding: what is coded depends on integers alone, on every machine. Tables of a Gaussian are
computed with integers and correctly rounded decimals for the same reason: ``math.erf`` and ``numpy.exp`` differ in
the last bit between machines.

Order of decoding: every picture's budget; then position by position, channel by channel, the pictures that have that
position, grouped by choice of table and else in order. Integers outside a table follow as varints of their own.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import cache, cached_property, lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

PRECISION = 24
TOTAL = 1 << PRECISION
UNIT = 4096
"""All lengths here and in probability models are integers in 1/4096 of the latents' unit scale."""
PHASES = 16
MAX_COLUMNS = 1 << 16
MAX_PICTURES = 4096
MAX_VALUES = 1 << 22  # integers in a chunk, where every picture counts as long as the chunk's longest
_RESOLUTION = 512  # points per standard deviation
_REACH = 6  # standard deviations that have symbols of their own
_MAX_RADIUS = 4096
_MASS_UNIT = 1 << 18
_ESCAPES = 1 << 16  # one integer in this many is expected outside


@dataclass(frozen=True, eq=False)
class Table:
    """Frequencies of the integers ``low``, ``low + 1``, ...; with ``escape`` the last stands for all others."""

    frequencies: Int[ndarray, "n"]
    low: int = 0
    escape: bool = False

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


def encode(steps: Sequence[tuple[Table, Int[ndarray, "_"]]]) -> bytes:
    """Symbols of tables, in the order of decoding, as bytes without trailing zeros."""
    coder = library().stream.stack.AnsCoder()
    for table, symbols in reversed(steps):  # a stack: the last symbol goes in first
        coder.encode_reverse(symbols.astype(np.int32), table.model)
    return coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")


def decoder_of(data: bytes) -> Any:
    """The coder of what ``encode`` wrote: its ``decode`` takes the models of the same tables in the same order."""
    if data.endswith(b"\0"):
        raise ValueError("damaged: coded data with trailing zeros")
    words = np.frombuffer(data + bytes(-len(data) % 4), dtype="<u4").astype(np.uint32)
    return library().stream.stack.AnsCoder(words)


def table_of(weights: Int[ndarray, "n"] | Sequence[int], *, low: int = 0, escape: bool = False) -> Table:
    """A table in proportion to two or more integer weights that sum to less than 2^38, in integers throughout."""
    weights = np.asarray(weights, dtype=np.int64)
    frequencies = 1 + weights * (TOTAL - len(weights)) // max(1, int(weights.sum()))
    frequencies[int(weights.argmax())] += TOTAL - int(frequencies.sum())
    return Table(frequencies, low=low, escape=escape)


def uniform(count: int) -> Table:
    """The symbols 0 to ``count`` - 1, all alike."""
    return table_of(np.ones(max(2, count), dtype=np.int64))


@lru_cache(maxsize=1 << 14)
def gaussian_table(deviation: int, step: int, phase: int) -> Table:
    """Table of how many steps a Gaussian value lies from the step next to its mean; deviation and step in 1/4096.

    The phase is where the mean lies within its step, from 0 at its lower edge to PHASES - 1 at its upper one.
    """
    reach = -(-_REACH * deviation // step) + 1
    if reach > _MAX_RADIUS:
        raise ValueError(f"step: got {step / UNIT:.2g} of a unit, which is too small; take a larger one")
    # Edges of the bins, less the mean, in 1/(2 PHASES) of a step: the mean is in the middle of its phase.
    edges = (2 * np.arange(-reach, reach + 2) - 1) * PHASES - (2 * phase + 1 - PHASES)
    points = edges * (step * _RESOLUTION) // (2 * PHASES * deviation)
    mass = _mass()
    weights = np.diff(mass[np.clip(points + len(mass) // 2, 0, len(mass) - 1)])
    escape = max(1, int(weights.sum()) // _ESCAPES)
    return table_of(np.append(weights, escape), low=-reach, escape=True)


@cache
def _mass() -> Int[ndarray, "n"]:
    """Cumulative Gaussian mass from -(_REACH + 2) deviations on, in equal small steps; integers."""
    context, edge = Context(prec=25), (_REACH + 2) * _RESOLUTION
    scale = Decimal(2 * _RESOLUTION * _RESOLUTION)
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


class Prior(ABC):
    """A probability model in integers."""

    tokens: int
    """most tokens of a picture"""
    width: int
    """numbers per token"""

    @property
    def arrays(self) -> dict[str, Int[ndarray, "..."]]:
        """The numbers of the model by name."""
        return {name: np.array(one) for name, one in vars(self).items() if isinstance(one, ndarray | tuple)}

    @cached_property
    def id(self) -> str:
        """Eight hexadecimal digits of a SHA-256 of the arrays, which a file records to name its model."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            digest.update(f"{name} {array.shape} ".encode() + array.astype("<i8").tobytes())
        return digest.hexdigest()[:8]

    @abstractmethod
    def expect(
        self, position: int, numbers: Int[ndarray, "b k c"], rows: Int[ndarray, "n"]
    ) -> tuple[Int[ndarray, "n c"], Int[ndarray, "n c"]]:
        """Integers next to what is expected of some rows at a position, and which of the ``table`` choices fits.

        Of the integers of all pictures those before the position are known.
        """

    @abstractmethod
    def table(self, position: int, channel: int, choice: int) -> Table:
        """Table of the distance to the expected integer."""


def check_size(tokens: int, width: int) -> None:
    """Refuse pictures of no numbers, or of too many."""
    if min(tokens, width) < 1 or tokens * width > MAX_COLUMNS:
        raise ValueError(
            f"tokens: got {str(tokens)[:9]} of {str(width)[:9]} numbers, expected 1 to {MAX_COLUMNS} numbers in all"
        )


class Bytes:
    """Reads one value after another from a byte string; ``ValueError`` for one that is cut off or damaged."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        left = len(self._data) - self._at
        if count > left:
            raise ValueError(f"damaged: {count} bytes announced where {left} are left")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self) -> int:
        """The next varint, below 2^63: seven bits per byte, lowest first; the top bit says that more follow."""
        value = 0
        for shift in range(0, 63, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("damaged: a number longer than nine bytes")

    def section(self) -> bytes:
        """The next byte string, which follows its length."""
        return self.take(self.number())

    def finish(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._data):
            raise ValueError(f"damaged: {len(self._data) - self._at} bytes too many")


def varint(value: int) -> bytes:
    """A number from 0 to 2^63 - 1, as ``Bytes.number`` reads it."""
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _walk(
    numbers: Int[ndarray, "b k c"], budgets: Int[ndarray, "b"], prior: Prior
) -> Iterator[tuple[tuple[Int[ndarray, "m"], int, int], Int[ndarray, "m"], Table]]:
    """In the order of coding: places in ``numbers`` (pictures, position, channel), what is expected there, the table.

    All that stands before a position has to be known when it is asked for.
    """
    for position in range(numbers.shape[1]):
        rows = np.flatnonzero(budgets > position)
        near, choice = prior.expect(position, numbers, rows)
        for channel in range(prior.width):
            for chosen in np.unique(choice[:, channel]).tolist():
                group = np.flatnonzero(choice[:, channel] == chosen)
                table = prior.table(position, channel, chosen)
                yield (rows[group], position, channel), near[group, channel], table


def pack(values: Sequence[Int[ndarray, "_ c"]], prior: Prior) -> tuple[bytes, bytes]:
    """Code the integers of some pictures, each of (k, c): the coded string, and the integers outside the tables."""
    budgets = np.array([len(rows) for rows in values])
    dense = np.zeros((len(values), int(budgets.max()), prior.width), dtype=np.int64)
    for row, numbers in zip(dense, values, strict=True):
        row[: len(numbers)] = numbers
    steps, escapes = [(uniform(prior.tokens), budgets - 1)], bytearray()
    for place, near, table in _walk(dense, budgets, prior):
        away = dense[place] - near
        symbols = table.symbols(away)
        steps.append((table, symbols))
        for number in away[table.is_escape(symbols)].tolist():
            escapes += varint(2 * number if number >= 0 else -2 * number - 1)
    return encode(steps), bytes(escapes)


def unpack(coded: bytes, escapes: bytes, *, count: int, prior: Prior) -> list[Int[ndarray, "_ c"]]:
    """The integers that ``pack`` coded; ``ValueError`` when they are damaged, or the prior is another one."""
    decoder, outside = decoder_of(coded), Bytes(escapes)
    budgets = decoder.decode(uniform(prior.tokens).model, count).astype(np.int64) + 1
    longest = int(budgets.max())
    if longest > prior.tokens or count * longest * prior.width > MAX_VALUES:
        raise ValueError(f"damaged: {count} pictures of up to {longest} tokens in one chunk")
    dense = np.zeros((count, longest, prior.width), dtype=np.int64)
    for place, near, table in _walk(dense, budgets, prior):
        symbols = decoder.decode(table.model, len(near)).astype(np.int64)
        away = symbols + table.low
        for escape in np.flatnonzero(table.is_escape(symbols)):
            away[escape] = _signed(outside.number())
        dense[place] = near + away
    if not decoder.is_empty():  # or the tables differ
        raise ValueError("damaged: coded data of another length than its symbols")
    outside.finish()
    return [numbers[:budget] for numbers, budget in zip(dense, budgets, strict=True)]


def _signed(number: int) -> int:
    if number >= 1 << 34:
        raise ValueError("damaged: an integer that no quantizer makes")
    return -(number + 1 >> 1) if number & 1 else number >> 1


def code_lengths(numbers: Int[ndarray, "b k c"], prior: Prior) -> Float[ndarray, "b k"]:
    """Bits of the first 1 to k tokens of each picture, its budget among them, as ``pack`` codes them."""
    bits = np.zeros(numbers.shape[:2])
    for place, near, table in _walk(numbers, np.full(*numbers.shape[:2]), prior):
        (rows, position, _), away = place, numbers[place] - near
        symbols = table.symbols(away)
        bits[rows, position] += PRECISION - np.log2(table.frequencies[symbols])
        for escape in np.flatnonzero(table.is_escape(symbols)):
            bits[rows[escape], position] += 8 * len(varint(2 * abs(int(away[escape]))))
    return np.log2(max(2, prior.tokens)) + bits.cumsum(axis=1)
