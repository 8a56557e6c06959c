"""What a tokenizer's tokens look like to the coder."""

from collections.abc import Mapping
from typing import Any

from textok.codec.header import MAX_STEP, MIN_STEP, Header
from textok.codec.prior import Prior, digits
from textok.codec.prior_file import prior_id
from textok.models.bottleneck import FSQConfig
from textok.models.tokenizer import TexTok, TexTokConfig


def levels_of(config: TexTokConfig, num_codes: int) -> tuple[int, ...]:
    """Digits of a code: the scalars of a finite scalar quantizer, else equal digits."""
    return config.bottleneck.levels if isinstance(config.bottleneck, FSQConfig) else digits(num_codes)


def header_for(
    model: TexTok,
    *,
    prior: Prior | None = None,
    quantization: float = 1.0,
    captions: bool = True,
    settings: Mapping[str, Any] | None = None,
) -> Header:
    """The header of a file with this tokenizer's tokens.

    Args:
        model: the tokenizer.
        prior: the probability model, None for the plain one.
        quantization: scales the steps of a continuous tokenizer's latents; codes are exact at any.
        captions: whether the file is to hold them.
        settings: for the record (plain JSON values).

    Raises:
        ValueError: for a quantization out of range, or settings that are too long.
    """
    if not MIN_STEP <= quantization <= MAX_STEP:  # also where it is not a number
        raise ValueError(f"quantization: got {quantization:g}, expected {MIN_STEP:g} to {MAX_STEP:g}")
    config, num_codes = model.config, model.num_codes
    levels = () if num_codes is None else levels_of(config, num_codes)
    return Header(
        model_id=model.model_id,
        kind="latents" if num_codes is None else "codes",
        tokens=config.num_latents,
        width=config.latent_dim if num_codes is None else len(levels),
        levels=levels,
        num_codes=num_codes or 0,
        prior=prior_id(prior),
        step=round(1000 * quantization) if num_codes is None else 0,
        captions=captions,
        settings=settings or {},
    )


def check_model(header: Header, model: TexTok) -> None:
    """Refuse a file that another model made.

    Raises:
        ValueError: names both models and says what to do.
    """
    if header.model_id != model.model_id:
        raise ValueError(
            f"the file was made by model {header.model_id!r}, and this is {model.model_id!r}:"
            " load the model that made it"
        )
    expected = header_for(model)
    shapes = [(h.kind, h.tokens, h.width, h.levels, h.num_codes) for h in (header, expected)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"damaged: the header tells of {shapes[0]}; expected {shapes[1]}")
