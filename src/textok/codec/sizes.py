"""How many bytes tokens take in a .ttk file, told from the probability model alone, without coding them."""

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from numpy import ndarray
from torch import Tensor

from textok.budgets.search import Sizes
from textok.codec.chunks import groups
from textok.codec.entropy import PRECISION
from textok.codec.prior import Prior
from textok.codec.tokenizers import header_for
from textok.codec.wire import varint
from textok.models.tokenizer import TexTok


def coded_sizes(model: TexTok, *, prior: Prior | None = None, quantization: float = 1.0) -> Sizes:
    """What measures this tokenizer's tokens as a .ttk file stores them.

    Names, captions, header and index are not counted; a chunk of many pictures is longer than the sum by a few bytes.

    Args:
        model: the tokenizer.
        prior: the probability model that the file will be written with, None for the plain one.
        quantization: as of the file; scales the steps of continuous latents.

    Raises:
        ValueError: for a quantization out of range, or a prior of another tokenizer.
    """
    header = header_for(model, prior=prior, quantization=quantization)
    coder = header.coder(prior)

    def sizes(values: Float[Tensor, "b k c"] | Integer[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        numbers = np.stack([header.to_integers(one, coder) for one in values.cpu()])
        return torch.from_numpy(code_lengths(numbers, coder) / 8)

    return sizes


def code_lengths(numbers: Int[ndarray, "b k c"], prior: Prior) -> Float[ndarray, "b k"]:
    """Bits of the first 1 to k tokens of each picture, its budget among them; as ``chunks.pack`` codes them."""
    rows, bits = np.arange(len(numbers)), np.zeros(numbers.shape[:2])
    for position in range(numbers.shape[1]):
        near, choice = prior.expect(position, numbers, rows)
        away = numbers[:, position] - near
        for channel, chosen, group in groups(choice):
            table, outside = prior.table(position, channel, chosen), away[group, channel]
            symbols = table.symbols(outside)
            bits[group, position] += PRECISION - np.log2(table.frequencies[symbols])
            for place in np.flatnonzero(table.is_escape(symbols)).tolist():
                bits[group[place], position] += 8 * len(varint(2 * abs(int(outside[place]))))
    return np.log2(max(2, prior.tokens)) + bits.cumsum(axis=1)
