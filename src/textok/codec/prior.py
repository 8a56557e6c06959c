"""Probability models of tokens: what the coder expects of each, given those before it; and their file.

All are integers throughout, so that encoder and decoder agree on every machine. ``LatentPrior`` is for continuous
latents (Gaussian, with a mean predicted linearly from the tokens before), ``CodePrior`` for codes (a table for each
position and digit). Axes: n pictures, k tokens, c numbers per token (channels of a latent, digits of a code).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from textok.codec.coding import PHASES, UNIT, Prior, Table, check_size, gaussian_table, table_of, uniform
from textok.models.checkpoint import PRIOR_FILE, SHIPPED, resolve, weights_hash
from textok.writing import refuse_foreign, replacing

MAX_PREDICTED = 1 << 13  # numbers per picture, for a prior that predicts
PLAIN_STEP = 0.3  # of unit scale; costs icons-128 less than 0.1 dB
POSTERIOR_STEPS = 8.0
"""Step of a latent in standard deviations of its posterior: the noise the decoder was trained with. On icons-128
eight of them cost less than 0.1 dB at every budget, and fewer bytes than one step for all."""
_WEIGHT_UNIT = 1 << 14
_MAX_STEP = 1.5
_RIDGE = 1e-3
_MAX_ABS = 1 << 24  # a value further off predicts no more than this
_FORMAT = {"format": "textok-codec", "version": "1"}
_LATENTS = {"mean", "deviation", "step"}


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentPrior(Prior):
    """Gaussian latents in steps.

    Attributes:
        mean, deviation: those of each position and channel, in 1/4096; the deviation is what prediction leaves.
        step: quantization step of each, in 1/4096.
        weights: prediction of each position and channel (rows, flattened) from those of earlier tokens, in 1/16384;
            None to predict nothing.
    """

    mean: Int[ndarray, "k c"]
    deviation: Int[ndarray, "k c"]
    step: Int[ndarray, "k c"]
    weights: Int[ndarray, "kc kc"] | None = None

    def __post_init__(self) -> None:
        for name, value in zip(("tokens", "width"), self.mean.shape, strict=True):
            object.__setattr__(self, name, value)
        check_size(self.tokens, self.width)
        if not self.mean.shape == self.deviation.shape == self.step.shape:
            raise ValueError("prior: got mean, deviation and step of different shapes, expected one")
        largest = max(map(_largest, (self.mean, self.deviation, self.step)))
        if self.deviation.min() < 1 or self.step.min() < 1 or largest > _MAX_ABS:
            raise ValueError(f"prior: expected deviations and steps from 1 on, and all within {_MAX_ABS}")
        if self.weights is None:
            return
        shape, size = self.weights.shape, self.mean.size
        if shape != (size, size) or size > MAX_PREDICTED:
            raise ValueError(
                f"prior: got weights of shape {shape}, expected {size} x {size}, {MAX_PREDICTED} at most"
            )
        if _largest(self.weights) >= 2 * _WEIGHT_UNIT:
            raise ValueError("prior: expected weights below 2")

    def scaled(self, thousandths: int) -> "LatentPrior":
        """The same model with every step scaled by ``thousandths`` / 1000."""
        return replace(self, step=np.clip(self.step * thousandths // 1000, 1, _MAX_ABS))

    def expect(
        self, position: int, numbers: Int[ndarray, "b k c"], rows: Int[ndarray, "n"]
    ) -> tuple[Int[ndarray, "n c"], Int[ndarray, "n c"]]:
        """The step next to the predicted mean, and where in that step the mean lies."""
        mean = np.broadcast_to(self.mean[position], (len(rows), self.width))
        if self.weights is not None and position:
            away = numbers[rows, :position] * self.step[:position] - self.mean[:position]
            away = np.clip(away, -_MAX_ABS, _MAX_ABS).reshape(len(rows), -1).astype(np.float64)
            own = self.weights[position * self.width : (position + 1) * self.width, : away.shape[1]]
            # Whole numbers below 2^53, whatever the order of the sums: exact, and as fast as matrices are.
            mean = mean + ((away @ own.T.astype(np.float64)).astype(np.int64) >> 14)
            mean = np.clip(mean, -_MAX_ABS, _MAX_ABS)
        step = self.step[position]
        nearest = (2 * mean + step) // (2 * step)
        phase = (2 * (mean - nearest * step) + step) * PHASES // (2 * step)
        return nearest, phase

    def table(self, position: int, channel: int, choice: int) -> Table:
        """Table of steps from the one next to the mean."""
        deviation, step = self.deviation[position, channel], self.step[position, channel]
        return gaussian_table(int(deviation), int(step), choice)


@dataclass(frozen=True, kw_only=True, eq=False)
class CodePrior(Prior):
    """Codes as mixed-radix digits, the lowest first, each with its own table of counts.

    Attributes:
        levels: how many values each digit takes; their product is at least the number of codes.
        counts: how often each position's digits took each value, zero beyond their levels; None for all alike.
        tokens: most tokens of a picture.
    """

    levels: tuple[int, ...]
    tokens: int
    counts: Int[ndarray, "k c v"] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", len(self.levels))
        check_size(self.tokens, self.width)
        shape = (self.tokens, self.width, max(self.levels))
        if self.counts is not None and self.counts.shape != shape:
            raise ValueError(f"prior: got counts of shape {self.counts.shape}, expected {shape}")
        if self.counts is not None and not 0 <= self.counts.min() <= self.counts.max() < 1 << 28:
            raise ValueError("prior: expected counts from 0 to 2^28 - 1")

    def expect(
        self, position: int, numbers: Int[ndarray, "b k c"], rows: Int[ndarray, "n"]
    ) -> tuple[Int[ndarray, "n c"], Int[ndarray, "n c"]]:
        """Zeros: digits are coded as they are, whatever came before."""
        zeros = np.zeros((len(rows), self.width), dtype=np.int64)
        return zeros, zeros

    def table(self, position: int, channel: int, choice: int) -> Table:
        """Table of one position's digit."""
        return self._tables[0 if self.counts is None else position][channel]

    @cached_property
    def _tables(self) -> list[list[Table]]:
        if self.counts is None:
            return [list(map(uniform, self.levels))]
        return [
            [table_of(counts[:level]) for counts, level in zip(own, self.levels, strict=True)]
            for own in self.counts
        ]


def plain_latents(tokens: int, channels: int) -> LatentPrior:
    """What holds for any tokenizer's latents: mean 0 and deviation 1, one step for all."""
    ones = np.full((tokens, channels), UNIT, dtype=np.int64)
    return LatentPrior(mean=0 * ones, deviation=ones, step=0 * ones + round(PLAIN_STEP * UNIT))


def digits(num_codes: int) -> tuple[int, ...]:
    """The levels of as few digits of up to 256 values as hold so many codes, all alike."""
    count, base = 1, 2
    while 256**count < num_codes:
        count += 1
    while base**count < num_codes:
        base += 1
    return (base,) * count


def digits_of(codes: Int[ndarray, "*b"], levels: Sequence[int]) -> Int[ndarray, "*b c"]:
    """Codes as mixed-radix digits, the lowest first."""
    return np.stack(np.unravel_index(codes, levels, order="F"), axis=-1)


def _largest(numbers: Int[ndarray, "..."]) -> int:
    return int(np.abs(numbers.astype(np.int64)).max())


def fit_latents(
    means: Float[Tensor, "n k c"], log_variances: Float[Tensor, "n k c"] | None = None
) -> LatentPrior:
    """Mean, step, linear prediction and what it leaves, of each position and channel of training pictures' latents.

    With the ``log_variances`` of a kl tokenizer the steps are in proportion to its mean deviation; else all are alike.
    """
    _, tokens, channels = means.shape
    mean = _whole(means.double().mean(0) * UNIT)
    if log_variances is None:
        step = np.full_like(mean, round(PLAIN_STEP * UNIT))
    else:
        noise = (log_variances.double() / 2).exp().mean(0)
        step = _whole((POSTERIOR_STEPS * noise).clamp(max=_MAX_STEP) * UNIT).clip(1)
    centre, width = torch.from_numpy(mean / UNIT), torch.from_numpy(step / UNIT)
    exact = (means.double() - centre).flatten(1)
    coded = ((means.double() / width).round() * width - centre).flatten(1)
    weights = None
    if tokens * channels <= MAX_PREDICTED:
        weights = _predictor(coded, exact, channels=channels)
        exact = exact - coded @ torch.from_numpy(weights / _WEIGHT_UNIT).T
    deviation = _whole(exact.square().mean(0).sqrt() * UNIT).clip(1).reshape(tokens, channels)
    return LatentPrior(mean=mean, deviation=deviation, step=step, weights=weights)


def _predictor(
    inputs: Float[Tensor, "n m"], outputs: Float[Tensor, "n m"], *, channels: int
) -> Int[ndarray, "m m"]:
    """Least squares of every token's channels from the tokens before it, a little shrunk; in 1/16384."""
    products, targets = inputs.T @ inputs, inputs.T @ outputs
    products += _RIDGE * torch.diag(products.diagonal() + 1e-9)
    weights = torch.zeros_like(products)
    for start in range(channels, len(products), channels):
        own = slice(start, start + channels)
        weights[own, :start] = torch.linalg.solve(products[:start, :start], targets[:start, own]).T
    largest = 2 * _WEIGHT_UNIT - 1
    return _whole(weights * _WEIGHT_UNIT).clip(-largest, largest)


def fit_codes(codes: Iterable[Int[Tensor, "n k"]], *, levels: tuple[int, ...], tokens: int) -> CodePrior:
    """How often each position's digits take each value; every value once more than it was seen."""
    counts = np.ones((tokens, len(levels), max(levels)), dtype=np.int64)
    for some in codes:
        seen = digits_of(some.numpy(), levels)
        for value in range(max(levels)):
            counts[..., value] += (seen == value).sum(axis=0)
    return CodePrior(levels=levels, counts=counts, tokens=tokens)


def _whole(values: Float[Tensor, "..."]) -> Int[ndarray, "..."]:
    return values.round().long().numpy()


# --- the file codec.safetensors beside the weights of a model -----------------------------------------------


def save_prior(prior: LatentPrior | CodePrior, path: Path, *, model_id: str) -> None:
    """Write a probability model, whole or not at all, for the tokenizer of this id."""
    arrays = {
        name: array.astype(np.int16 if _largest(array) < 1 << 15 else np.int32, order="C")
        for name, array in prior.arrays.items()
    }
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata=_FORMAT | {"model_id": model_id, "tokens": str(prior.tokens)})


def load_prior(path: Path, *, model_id: str) -> LatentPrior | CodePrior:
    """Read a probability model; ``FileNotFoundError``, or ``ValueError`` for a damaged one or another tokenizer's."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    refuse_foreign(path, expected="a probability model")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if {name: metadata.get(name) for name in _FORMAT} != _FORMAT:
                raise ValueError("no probability model that this release reads")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if weights_hash(metadata.get("model_id", "")) != weights_hash(model_id):
            raise ValueError(f"model_id: got {metadata.get('model_id')!r}, expected {model_id!r}")
        return _prior_of(arrays, tokens=int(metadata.get("tokens", "")))
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: {error}; make it again with textok prior") from error


def find_prior(name_or_folder: str | Path, *, model_id: str) -> LatentPrior | CodePrior | None:
    """The probability model beside a model's weights, where there is one. Raises as :func:`load_prior`."""
    path = resolve(str(name_or_folder), shipped=SHIPPED) / PRIOR_FILE
    return load_prior(path, model_id=model_id) if path.is_file() else None


def _prior_of(arrays: dict[str, Int[ndarray, "..."]], *, tokens: int) -> LatentPrior | CodePrior:
    if any(array.dtype.kind not in "iu" for array in arrays.values()):
        raise ValueError("holds numbers that are not whole")
    wide = {name: array.astype(np.int64) for name, array in arrays.items() if name != "weights"}
    if wide.keys() == _LATENTS:
        return LatentPrior(**wide, weights=arrays.get("weights"))
    if "levels" not in wide or set(wide) - {"levels", "counts"}:
        raise ValueError(f"holds {sorted(arrays)[:6]}, expected {sorted(_LATENTS)}, or levels and counts")
    return CodePrior(levels=tuple(wide["levels"].tolist()), counts=wide.get("counts"), tokens=tokens)
