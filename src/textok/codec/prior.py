"""Probability models of tokens: what the coder expects of each, given those before it.

Both are integers throughout, so that encoder and decoder agree on every machine. ``LatentPrior`` is for continuous
latents (Gaussian, with a mean predicted linearly from the tokens before), ``CodePrior`` for codes (a table for each
position and digit). Axes: n pictures, k tokens, c numbers a token (channels of a latent, digits of a code).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from textok.codec.entropy import Table, table_of, uniform
from textok.codec.gaussian import PHASES, UNIT, gaussian_table

MAX_COLUMNS = 1 << 16
MAX_PREDICTED = 1 << 13  # numbers a picture, for a prior that predicts
WEIGHT_UNIT = 1 << 14
PLAIN_STEP = 0.3  # of unit scale; costs icons-128 less than 0.1 dB
_WILDEST = 1 << 24  # a value further off predicts no more than this


@runtime_checkable
class Prior(Protocol):
    """What the coder asks of a probability model."""

    @property
    def tokens(self) -> int:
        """Most tokens a picture."""
        ...

    @property
    def width(self) -> int:
        """Numbers a token."""
        ...

    @property
    def id(self) -> str:
        """A short hash; a file tells which model it was written with."""
        ...

    def expect(
        self, position: int, numbers: Int[ndarray, "b k c"], rows: Int[ndarray, "n"]
    ) -> tuple[Int[ndarray, "n c"], Int[ndarray, "n c"]]:
        """Integers next to what is expected at a position, and which of the ``table`` choices fits.

        Args:
            position: of the token.
            numbers: the integers of some pictures; those before the position are known.
            rows: the pictures asked about.
        """
        ...

    def table(self, position: int, channel: int, choice: int) -> Table:
        """Table of the distance to the expected integer."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentPrior:
    """Gaussian latents in steps.

    Attributes:
        mean, deviation: of each position and channel, in 1/4096; the deviation is what prediction leaves.
        step: quantization step of each, in 1/4096.
        weights: prediction of each position and channel (rows, flattened) from those of earlier tokens, in 1/16384;
            None to predict nothing.
    """

    mean: Int[ndarray, "k c"]
    deviation: Int[ndarray, "k c"]
    step: Int[ndarray, "k c"]
    weights: Int[ndarray, "kc kc"] | None = None

    def __post_init__(self) -> None:
        _check_size(self.mean.shape)
        if not self.mean.shape == self.deviation.shape == self.step.shape:
            raise ValueError("prior: mean, deviation and step are of different shapes")
        if self.deviation.min() < 1 or self.step.min() < 1 or max(map(_largest, self._numbers)) > _WILDEST:
            raise ValueError(f"prior: expected deviations and steps from 1 on, and all within {_WILDEST}")
        if self.weights is not None:
            _check_weights(self.weights, self.mean.size)

    @property
    def _numbers(self) -> tuple[Int[ndarray, "k c"], ...]:
        return self.mean, self.deviation, self.step

    @property
    def tokens(self) -> int:
        """Most tokens a picture."""
        return self.mean.shape[0]

    @property
    def width(self) -> int:
        """Channels."""
        return self.mean.shape[1]

    @cached_property
    def id(self) -> str:
        """A short hash of the numbers, steps as they are at scale 1."""
        return identify(self.arrays())

    def arrays(self) -> dict[str, Int[ndarray, "..."]]:
        """The numbers by name."""
        arrays = {"mean": self.mean, "deviation": self.deviation, "step": self.step}
        return arrays if self.weights is None else arrays | {"weights": self.weights}

    def scaled(self, thousandths: int) -> "LatentPrior":
        """With every step so many thousandths of what it is."""
        step = np.clip(self.step * thousandths // 1000, 1, _WILDEST)
        return LatentPrior(mean=self.mean, deviation=self.deviation, step=step, weights=self.weights)

    def expect(
        self, position: int, numbers: Int[ndarray, "b k c"], rows: Int[ndarray, "n"]
    ) -> tuple[Int[ndarray, "n c"], Int[ndarray, "n c"]]:
        """The step next to the predicted mean, and where in that step the mean lies."""
        mean = np.broadcast_to(self.mean[position], (len(rows), self.width))
        if self.weights is not None and position:
            away = numbers[rows, :position] * self.step[:position] - self.mean[:position]
            away = np.clip(away, -_WILDEST, _WILDEST).reshape(len(rows), -1).astype(np.float64)
            own = self.weights[position * self.width : (position + 1) * self.width, : away.shape[1]]
            # Whole numbers below 2^53, whatever the order of the sums: exact, and as fast as matrices are.
            mean = mean + ((away @ own.T.astype(np.float64)).astype(np.int64) >> 14)
            mean = np.clip(mean, -_WILDEST, _WILDEST)
        step = self.step[position]
        nearest = (2 * mean + step) // (2 * step)
        phase = (2 * (mean - nearest * step) + step) * PHASES // (2 * step)
        return nearest, phase

    def table(self, position: int, channel: int, choice: int) -> Table:
        """Table of steps from the one next to the mean."""
        deviation, step = self.deviation[position, channel], self.step[position, channel]
        return gaussian_table(int(deviation), int(step), choice)


@dataclass(frozen=True, kw_only=True, eq=False)
class CodePrior:
    """Codes as mixed-radix digits, the lowest first, each with its own table of counts.

    Attributes:
        levels: how many values each digit takes; their product is at least the number of codes.
        counts: how often each position's digits took each value, zero beyond their levels; None for all alike.
        tokens: most tokens a picture.
    """

    levels: tuple[int, ...]
    tokens: int
    counts: Int[ndarray, "k c v"] | None = None

    def __post_init__(self) -> None:
        _check_size((self.tokens, len(self.levels)))
        shape = (self.tokens, len(self.levels), max(self.levels))
        if self.counts is not None and self.counts.shape != shape:
            raise ValueError(f"prior: got counts of shape {self.counts.shape}; expected {shape}")
        if self.counts is not None and not 0 <= self.counts.min() <= self.counts.max() < 1 << 28:
            raise ValueError("prior: expected counts from 0 to 2^28 - 1")

    @property
    def width(self) -> int:
        """Digits."""
        return len(self.levels)

    @cached_property
    def id(self) -> str:
        """A short hash of the numbers."""
        return identify(self.arrays())

    def arrays(self) -> dict[str, Int[ndarray, "..."]]:
        """The numbers by name."""
        return {"levels": np.array(self.levels)} | ({} if self.counts is None else {"counts": self.counts})

    def expect(
        self, position: int, numbers: Int[ndarray, "b k c"], rows: Int[ndarray, "n"]
    ) -> tuple[Int[ndarray, "n c"], Int[ndarray, "n c"]]:
        """Digits are coded as they are, whatever came before."""
        zeros = np.zeros((len(rows), self.width), dtype=np.int64)
        return zeros, zeros

    def table(self, position: int, channel: int, choice: int) -> Table:
        """Table of one position's digit."""
        place = (position if self.counts is not None else 0, channel)
        if place not in self._made:
            level = self.levels[channel]
            self._made[place] = (
                uniform(level) if self.counts is None else table_of(self.counts[position, channel, :level])
            )
        return self._made[place]

    @cached_property
    def _made(self) -> dict[tuple[int, int], Table]:
        return {}


def plain_latents(tokens: int, channels: int) -> LatentPrior:
    """What is known of any tokenizer's latents: mean 0 and deviation 1, a step for all."""
    _check_size((tokens, channels))
    ones = np.full((tokens, channels), UNIT, dtype=np.int64)
    return LatentPrior(mean=0 * ones, deviation=ones, step=0 * ones + round(PLAIN_STEP * UNIT))


def digits(num_codes: int) -> tuple[int, ...]:
    """As few digits of up to 256 values as hold so many codes, alike."""
    count = 1
    while 256**count < num_codes:
        count += 1
    base = 2
    while base**count < num_codes:
        base += 1
    return (base,) * count


def identify(arrays: Mapping[str, Int[ndarray, "..."]]) -> str:
    """Eight hexadecimal digits of a SHA-256 of names, shapes and numbers."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape} ".encode() + arrays[name].astype("<i8").tobytes())
    return digest.hexdigest()[:8]


def _check_size(shape: Sequence[int]) -> None:
    tokens, width = shape
    if not (tokens >= 1 and width >= 1 and tokens * width <= MAX_COLUMNS):
        raise ValueError(
            f"tokens: got {tokens} of {width} numbers; expected 1 to {MAX_COLUMNS} numbers in all"
        )


def _check_weights(weights: Int[ndarray, "kc kc"], size: int) -> None:
    if weights.shape != (size, size) or size > MAX_PREDICTED:
        raise ValueError(
            f"prior: got weights of shape {weights.shape}; expected {size} x {size}, {MAX_PREDICTED} at most"
        )
    if _largest(weights) >= 1 << 15:
        raise ValueError("prior: expected weights below 2")


def _largest(numbers: Int[ndarray, "..."]) -> int:
    return int(np.abs(numbers.astype(np.int64)).max())
