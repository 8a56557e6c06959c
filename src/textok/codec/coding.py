"""The tokens of some pictures as one coded string, and back; and how long that string will be.

Order of decoding: every picture's budget; then position by position, channel by channel, the pictures that have that
position, grouped by choice of table and else in order. Integers outside a table follow as varints of their own.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from numpy import ndarray
from torch import Tensor

from textok.budgets.search import Sizes
from textok.codec.entropy import PRECISION, Decoder, Encoder, uniform
from textok.codec.header import header_for
from textok.codec.prior import Prior
from textok.codec.wire import Bytes, varint
from textok.models.tokenizer import TexTok

MAX_PICTURES = 4096
MAX_VALUES = 1 << 22  # integers in a chunk, where every picture counts as long as the chunk's longest


def pack(values: Sequence[Int[ndarray, "_ c"]], prior: Prior) -> tuple[bytes, bytes]:
    """Code the integers of some pictures: the coded string, and the integers outside the tables.

    Args:
        values: (k, c) of each picture, k from 1 to the prior's tokens.
        prior: the probability model.
    """
    budgets = np.array([len(rows) for rows in values])
    dense = np.zeros((len(values), int(budgets.max()), prior.width), dtype=np.int64)
    for row, numbers in zip(dense, values, strict=True):
        row[: len(numbers)] = numbers
    encoder, escapes = Encoder(), bytearray()
    encoder.put(uniform(prior.tokens), budgets - 1)
    for position in range(dense.shape[1]):
        rows = np.flatnonzero(budgets > position)
        near, choice = prior.expect(position, dense, rows)
        away = dense[rows, position] - near
        for channel, chosen, group in _groups(choice):
            table, numbers = prior.table(position, channel, chosen), away[group, channel]
            symbols = table.symbols(numbers)
            encoder.put(table, symbols)
            for number in numbers[table.is_escape(symbols)].tolist():
                escapes += varint(2 * number if number >= 0 else -2 * number - 1)
    return encoder.finish(), bytes(escapes)


def unpack(coded: bytes, escapes: bytes, *, count: int, prior: Prior) -> list[Int[ndarray, "_ c"]]:
    """The integers that ``pack`` coded; ``ValueError`` when they are damaged, or the prior is another one."""
    decoder, outside = Decoder(coded), Bytes(escapes)
    budgets = decoder.take(uniform(prior.tokens), count) + 1
    longest = int(budgets.max())
    if longest > prior.tokens or count * longest * prior.width > MAX_VALUES:
        raise ValueError(f"damaged: {count} pictures of up to {longest} tokens in one chunk")
    dense = np.zeros((count, longest, prior.width), dtype=np.int64)
    for position in range(longest):
        rows = np.flatnonzero(budgets > position)
        near, choice = prior.expect(position, dense, rows)
        for channel, chosen, group in _groups(choice):
            table = prior.table(position, channel, chosen)
            symbols = decoder.take(table, len(group))
            away = symbols + table.low
            for place in np.flatnonzero(table.is_escape(symbols)):
                away[place] = _signed(outside.number())
            dense[rows[group], position, channel] = near[group, channel] + away
    decoder.finish()
    outside.finish()
    return [numbers[:budget] for numbers, budget in zip(dense, budgets, strict=True)]


def _groups(choice: Int[ndarray, "n c"]) -> Iterator[tuple[int, int, Int[ndarray, "m"]]]:
    """Channel, choice and the rows that have it, in the order of coding."""
    for channel in range(choice.shape[1]):
        for chosen in np.unique(choice[:, channel]).tolist():
            yield channel, chosen, np.flatnonzero(choice[:, channel] == chosen)


def _signed(number: int) -> int:
    if number >= 1 << 34:
        raise ValueError("damaged: an integer that no quantizer makes")
    return -(number + 1 >> 1) if number & 1 else number >> 1


# --- lengths, from the probability model alone --------------------------------------------------------------


def coded_sizes(model: TexTok, *, prior: Prior | None = None, quantization: float = 1.0) -> Sizes:
    """A function from tokens to their bytes in a .ttk file, which codes nothing.

    Names, captions, header and index are not counted; a chunk of many pictures is longer than the sum by a few bytes.

    Args:
        model: the tokenizer that made the tokens.
        prior: the probability model that the file will be written with, None for the plain one.
        quantization: the number that the file will be written with; it scales the steps of continuous latents.

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
    """Bits of the first 1 to k tokens of each picture, its budget among them, as ``pack`` codes them."""
    rows, bits = np.arange(len(numbers)), np.zeros(numbers.shape[:2])
    for position in range(numbers.shape[1]):
        near, choice = prior.expect(position, numbers, rows)
        away = numbers[:, position] - near
        for channel, chosen, group in _groups(choice):
            table, distances = prior.table(position, channel, chosen), away[group, channel]
            symbols = table.symbols(distances)
            bits[group, position] += PRECISION - np.log2(table.frequencies[symbols])
            for place in np.flatnonzero(table.is_escape(symbols)).tolist():
                bits[group[place], position] += 8 * len(varint(2 * abs(int(distances[place]))))
    return np.log2(max(2, prior.tokens)) + bits.cumsum(axis=1)
