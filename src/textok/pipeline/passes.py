"""One batch of pictures through a tokenizer's model: all that encodes or decodes after training does it here."""

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float, Int, Integer, UInt8
from torch import Tensor

from textok.models.text import TextCondition
from textok.models.tokenizer import Encoding, TexTok
from textok.pixels import to_unit
from textok.sampling.random import Random


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
    grid: tuple[int, int] | None = None,
    lengths: Int[Tensor, "b"] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    generator: Random | None = None,
    autocast: torch.dtype | None = None,
) -> Float[Tensor, "b 3 h w"]:
    """Decode latents or codes to float32 pictures, nearly all of whose values are in [-1, 1].

    Args:
        model: the tokenizer, in eval mode.
        values: latents (b, k, c) or codes (b, k).
        text: captions of the pictures; None decodes without.
        grid: rows and columns of patches; the square of training when None.
        lengths: how many of its tokens each picture has; all of them when None.
        steps, guidance, generator: of a decoder that samples; see ``TexTok.decode``.
        autocast: as in :func:`encode_pixels`.
    """
    weights = next(model.decoder.parameters())
    values = values.to(weights.device)
    values = values.float() if values.is_floating_point() else values.long()
    with _autocast(weights, autocast):
        images = model.decode(
            values,
            _text_like(weights, text),
            grid=grid,
            lengths=lengths,
            steps=steps,
            guidance=guidance,
            generator=generator,
        )
    return images.float()


def _autocast(weights: Tensor, dtype: torch.dtype | None) -> AbstractContextManager:
    return torch.autocast(weights.device.type, dtype) if dtype else nullcontext()


def _text_like(weights: Tensor, text: TextCondition | None) -> TextCondition | None:
    return None if text is None else text.to(weights.device, weights.dtype)
