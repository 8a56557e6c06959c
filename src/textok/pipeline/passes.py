"""One batch of pictures through a tokenizer's model: all that encodes or decodes after training does it here."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from textok.models.text import TextCondition
from textok.models.tokenizer import Encoding, TexTok
from textok.pixels import to_unit


@torch.no_grad()
def encode_pixels(
    model: TexTok,
    pixels: UInt8[Tensor, "b 3 h w"],
    text: TextCondition | None,
    *,
    num_tokens: int | None = None,
    autocast: torch.dtype | None = None,
) -> Encoding:
    """Encode uint8 pictures on the model's device.

    Args:
        model: the tokenizer, in eval mode.
        pixels: pictures of one size, on any device.
        text: their captions; None encodes without.
        num_tokens: token budget k; the model's K when None.
        autocast: dtype to run the model in; None runs it in the dtype of its weights.
    """
    weights = next(model.encoder.parameters())
    images = to_unit(pixels.to(weights.device)).to(weights.dtype)
    with _autocast(weights, autocast):
        return model.encode(images, _text_like(weights, text), num_tokens=num_tokens)


@torch.no_grad()
def decode_values(
    model: TexTok,
    values: Float[Tensor, "b k c"] | Integer[Tensor, "b k"],
    text: TextCondition | None,
    *,
    autocast: torch.dtype | None = None,
    **options: Any,
) -> Float[Tensor, "b 3 h w"]:
    """Decode latents or codes to float32 pictures, nearly all of whose values are in [-1, 1].

    Args:
        model: the tokenizer, in eval mode.
        values: latents (b, k, c) or codes (b, k).
        text: captions of the pictures; None decodes without.
        autocast: as in :func:`encode_pixels`.
        **options: grid, lengths, and the settings of a decoder that samples, as ``TexTok.decode`` takes them.
    """
    weights = next(model.decoder.parameters())
    values = values.to(weights.device)
    values = values.float() if values.is_floating_point() else values.long()
    with _autocast(weights, autocast):
        return model.decode(values, _text_like(weights, text), **options).float()


def _autocast(weights: Tensor, dtype: torch.dtype | None) -> AbstractContextManager:
    return torch.autocast(weights.device.type, dtype) if dtype else nullcontext()


def _text_like(weights: Tensor, text: TextCondition | None) -> TextCondition | None:
    return None if text is None else text.to(weights.device, weights.dtype)
