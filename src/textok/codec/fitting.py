"""Fits probability models to the tokens of training pictures."""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from textok.codec.entropy import UNIT
from textok.codec.prior import (
    MAX_PREDICTED,
    PLAIN_STEP,
    WEIGHT_UNIT,
    CodePrior,
    LatentPrior,
    strides_of,
)

POSTERIOR_STEPS = 8.0
"""Step of a latent in standard deviations of its posterior: the noise the decoder was trained with. On icons-128
eight of them cost less than 0.1 dB at every budget, and fewer bytes than one step for all."""
MAX_STEP = 1.5
_RIDGE = 1e-3


def fit_latents(
    means: Float[Tensor, "n k c"], log_variances: Float[Tensor, "n k c"] | None = None
) -> LatentPrior:
    """Mean, step, linear prediction and what it leaves, of each position and channel.

    Args:
        means: latents of training pictures.
        log_variances: of a kl tokenizer; steps are in proportion to the mean deviation. Without, one step for all.
    """
    _, tokens, channels = means.shape
    mean = _whole(means.double().mean(0) * UNIT)
    if log_variances is None:
        step = np.full_like(mean, round(PLAIN_STEP * UNIT))
    else:
        noise = (log_variances.double() / 2).exp().mean(0)
        step = _whole((POSTERIOR_STEPS * noise).clamp(max=MAX_STEP) * UNIT).clip(1)
    centre, width = torch.from_numpy(mean / UNIT), torch.from_numpy(step / UNIT)
    exact = (means.double() - centre).flatten(1)
    coded = ((means.double() / width).round() * width - centre).flatten(1)
    weights = None
    if tokens * channels <= MAX_PREDICTED:
        weights = _predictor(coded, exact, channels=channels)
        exact = exact - coded @ torch.from_numpy(weights / WEIGHT_UNIT).T
    deviation = _whole(exact.square().mean(0).sqrt() * UNIT).clip(1).reshape(tokens, channels)
    return LatentPrior(mean=mean, deviation=deviation, step=step, weights=weights)


def _predictor(
    known: Float[Tensor, "n m"], wanted: Float[Tensor, "n m"], *, channels: int
) -> Int[ndarray, "m m"]:
    """Least squares of every token's channels from the tokens before it, a little shrunk; in 1/16384."""
    products, targets = known.T @ known, known.T @ wanted
    products += _RIDGE * torch.diag(products.diagonal() + 1e-9)
    weights = torch.zeros_like(products)
    for start in range(channels, len(products), channels):
        own = slice(start, start + channels)
        weights[own, :start] = torch.linalg.solve(products[:start, :start], targets[:start, own]).T
    largest = (1 << 15) - 1
    return _whole(weights * WEIGHT_UNIT).clip(-largest, largest)


def fit_codes(codes: Iterable[Int[Tensor, "n k"]], *, levels: tuple[int, ...], tokens: int) -> CodePrior:
    """How often each position's digits take each value; every value once more than it was seen."""
    counts = np.ones((tokens, len(levels), max(levels)), dtype=np.int64)
    strides = strides_of(levels)
    for some in codes:
        digits = some.numpy().astype(np.int64)[..., None] // strides % np.array(levels)
        for position in range(tokens):
            for channel in range(len(levels)):
                counts[position, channel] += np.bincount(
                    digits[:, position, channel], minlength=counts.shape[2]
                )
    return CodePrior(levels=levels, counts=counts, tokens=tokens)


def _whole(values: Float[Tensor, "..."]) -> Int[ndarray, "..."]:
    return values.round().long().numpy()
