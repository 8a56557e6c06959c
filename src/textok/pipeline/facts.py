"""What a tokenizer's configuration amounts to: parameters, sequence lengths, arithmetic, bytes."""

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok, TexTokConfig, count_parameters


def model_facts(config: TexTokConfig, *, arithmetic: bool = True) -> dict[str, Any]:
    """Sizes of a tokenizer, which is not allocated for that.

    Returns:
        ``parameters`` (total, encoder, decoder), ``image`` size, ``grid`` of patches, ``tokens`` (K),
        ``channels`` (c), ``codes`` (vocabulary of a discrete tokenizer, else None), ``bytes_per_image`` at K
        tokens (16-bit latents, or whole bits of codes), and with the longest caption the ``sequence`` lengths
        and with ``arithmetic``, which takes seconds, ``gmacs_per_image`` (matrix products and attention) of both.
    """
    with FakeTensorMode():  # tensors with a shape and no memory
        model = TexTok(config).eval()
        gmacs = {"gmacs_per_image": _gmacs(model)} if arithmetic else {}
    sides = {"encoder": model.encoder, "decoder": model.decoder}
    own, text = config.num_patches + config.num_latents, config.max_text_tokens
    return {
        "parameters": {name: count_parameters(part) for name, part in {"total": model, **sides}.items()},
        "image": config.image_size,
        "grid": [config.side, config.side],
        "tokens": config.num_latents,
        "channels": config.latent_dim,
        "codes": model.num_codes,
        "bytes_per_image": bytes_per_image(model, num_tokens=config.num_latents),
        "sequence": {side: own + (config.placement in ("both", side)) * text for side in sides},
    } | gmacs


def bytes_per_image(model: TexTok, *, num_tokens: int) -> int:
    """Bytes of one picture's tokens: 16-bit latents, or whole bits of codes; captions not counted."""
    codes = model.num_codes
    bits = 16 * model.config.latent_dim if codes is None else (codes - 1).bit_length()
    return -(-num_tokens * bits // 8)


@torch.no_grad()
def _gmacs(model: TexTok) -> dict[str, float]:
    config = model.config
    images = torch.empty(1, 3, config.image_size, config.image_size)
    tokens = torch.empty(1, config.num_latents, config.latent_dim)
    mask = torch.ones(1, config.max_text_tokens, dtype=torch.bool)
    text = TextCondition(embeddings=torch.empty(*mask.shape, config.text_dim), mask=mask)
    with FlopCounterMode(display=False) as encoding:
        model.encode(images, text)
    with FlopCounterMode(display=False) as decoding:
        model.decode(tokens, text)
    counters = {"encode": encoding, "decode": decoding}
    return {name: round(counter.get_total_flops() / 2e9, 4) for name, counter in counters.items()}
