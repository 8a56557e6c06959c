"""What a .ttk file records of itself: the model, the tokens, and how they were coded."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from numpy import ndarray
from torch import Tensor

from textok.codec.entropy import UNIT
from textok.codec.prior import MAX_COLUMNS, CodePrior, LatentPrior, Prior, digits, plain_latents, strides_of
from textok.models.bottleneck import FSQConfig
from textok.models.checkpoint import weights_hash
from textok.models.tokenizer import TexTok, TexTokConfig
from textok.writing import strict_json

MAX_HEADER = 1 << 16
MIN_STEP, MAX_STEP = 0.01, 100.0  # of the probability model's
_STEPS = (10, 100_000)  # the same in thousandths
_MAX_STEPS = 1 << 31


@dataclass(frozen=True, kw_only=True)
class Header:
    """Everything about a file's pictures that holds for all of them.

    Attributes:
        model_id: the id of the tokenizer; no other can decode them.
        kind: "latents", of ``width`` channels, or "codes", of ``num_codes`` in the mixed radix ``levels``.
        tokens: most tokens of a picture.
        width: numbers per token: channels, or digits.
        levels: values of each digit, the lowest digit first; empty for latents.
        num_codes: size of the vocabulary; 0 for latents.
        prior: id of the probability model that is needed to read; "" for the plain one that needs none.
        step: thousandths of the probability model's quantization steps; 0 for codes.
        captions: whether the captions are in the file.
        settings: how the file was made, plain JSON values for the record only.
    """

    model_id: str
    kind: str
    tokens: int
    width: int
    levels: tuple[int, ...] = ()
    num_codes: int = 0
    prior: str = ""
    step: int = 0
    captions: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in ("latents", "codes"):
            raise ValueError(f"kind: got {self.kind!r}, expected latents or codes")
        if min(self.tokens, self.width) < 1 or self.tokens * self.width > MAX_COLUMNS:
            raise ValueError(
                f"tokens: got {str(self.tokens)[:9]} of {str(self.width)[:9]} numbers,"
                f" expected 1 to {MAX_COLUMNS} numbers in all"
            )
        if self.kind == "codes":
            self._check_codes()
        elif self.levels or self.num_codes or not _STEPS[0] <= self.step <= _STEPS[1]:
            raise ValueError(
                f"step: got {str(self.step)[:9]} thousandths, expected {_STEPS}, and no levels beside it"
            )

    def _check_codes(self) -> None:
        good = len(self.levels) == self.width <= 32 and all(2 <= level <= 1000 for level in self.levels)
        if not good or not 2 <= self.num_codes <= math.prod(self.levels) <= 1 << 32 or self.step:
            raise ValueError(
                f"levels: got {str(self.levels[:8])[:60]} for {str(self.num_codes)[:12]} codes, expected their digits"
            )

    def to_json(self) -> bytes:
        """The header as UTF-8 JSON, without the values that are defaults; ``ValueError`` when it is too long."""
        values = {name: value for name, value in vars(self).items() if value not in ("", 0, (), {})}
        try:
            data = strict_json(values | {"captions": self.captions}).encode()
        except ValueError as error:
            raise ValueError(f"header: {error}") from error
        if len(data) > MAX_HEADER:
            raise ValueError(f"settings: got {len(data)} bytes, expected at most {MAX_HEADER}")
        return data

    @classmethod
    def from_json(cls, data: bytes) -> "Header":
        """What ``to_json`` wrote; ``ValueError`` for anything else."""
        try:
            values = json.loads(data.decode())
            strict_json(values)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"header: not good JSON: {error}") from error
        required = {"model_id", "kind", "tokens", "width", "captions"}
        if not isinstance(values, dict) or not required <= set(values) <= set(_KINDS):
            raise ValueError(f"header: expected an object with {', '.join(_KINDS)}")
        for name, value in values.items():
            if type(value) is not _KINDS[name]:
                raise ValueError(f"header: {name} is {str(value)[:40]!r}, of the wrong kind")
        levels = values.get("levels", [])
        if not all(type(level) is int for level in levels):
            raise ValueError("header: levels are not whole numbers")
        return cls(**(values | {"levels": tuple(levels)}))

    def coder(self, prior: Prior | None = None) -> Prior:
        """The probability model to code with: the plain one, or ``prior`` when it is the one named here.

        Raises:
            ValueError: when the file needs a prior and this is none or another one.
        """
        if self.prior and (prior is None or prior.id != self.prior):
            got = "none" if prior is None else repr(prior.id)
            raise ValueError(
                f"probability model: got {got}, expected {self.prior!r}, which the file was written with;"
                " load the model with the codec.safetensors that belongs to it"
            )
        model = prior if self.prior and prior is not None else self._plain()
        levels = model.levels if isinstance(model, CodePrior) else ()
        if (model.tokens, model.width, levels) != (self.tokens, self.width, self.levels):
            raise ValueError(
                f"probability model: got one for {model.tokens} tokens of {model.width} numbers, "
                f"expected {self.kind}, {self.tokens} of {self.width}"
            )
        return model.scaled(self.step) if isinstance(model, LatentPrior) else model

    def _plain(self) -> Prior:
        if self.kind == "latents":
            return plain_latents(self.tokens, self.width)
        return CodePrior(levels=self.levels, tokens=self.tokens)

    # --- values as the coder's integers -----------------------------------------------------------------

    def to_integers(
        self, values: Float[Tensor, "k c"] | Integer[Tensor, "k"], coder: Prior
    ) -> Int[ndarray, "k w"]:
        """Latents as whole steps, codes as digits.

        Raises:
            ValueError: when they are of another kind, too many, or too large.
        """
        if not 1 <= len(values) <= self.tokens:
            raise ValueError(f"tokens: got {len(values)}, expected 1 to {self.tokens}")
        if isinstance(coder, LatentPrior):
            return self._steps_of(values, coder)
        if values.dim() != 1 or values.is_floating_point():
            raise ValueError(
                f"tokens: got {tuple(values.shape)} of {values.dtype}, expected whole codes (k,)"
            )
        codes = values.cpu().numpy().astype(np.int64)
        if codes.min() < 0 or codes.max() >= self.num_codes:
            raise ValueError(f"codes: got {codes.min()} to {codes.max()}, expected 0 to {self.num_codes - 1}")
        return codes[:, None] // strides_of(self.levels) % np.array(self.levels)

    def _steps_of(self, values: Tensor, coder: LatentPrior) -> Int[ndarray, "k w"]:
        if values.shape[1:] != (self.width,) or not values.is_floating_point():
            raise ValueError(
                f"tokens: got {tuple(values.shape)} of {values.dtype}, expected latents (k, {self.width})"
            )
        steps = np.rint(values.cpu().double().numpy() * UNIT / coder.step[: len(values)])
        if not np.abs(steps).max() < _MAX_STEPS:  # also where it is not a number
            raise ValueError(
                f"latents: got up to {values.abs().max()}, expected finite ones below 2^31 steps"
            )
        return steps.astype(np.int64)

    def to_values(
        self, numbers: Int[ndarray, "k w"], coder: Prior
    ) -> Float[Tensor, "k c"] | Integer[Tensor, "k"]:
        """Latents or codes of the coder's integers; ``ValueError`` for a code that the tokenizer does not have."""
        if isinstance(coder, LatentPrior):
            return torch.from_numpy((numbers * coder.step[: len(numbers)] / UNIT).astype(np.float32))
        codes = (numbers * strides_of(self.levels)).sum(-1)
        if codes.max() >= self.num_codes:
            raise ValueError(f"damaged: code {codes.max()} of {self.num_codes}")
        return torch.from_numpy(codes)


_KINDS: dict[str, type] = {
    **dict.fromkeys(("model_id", "kind", "prior"), str),
    **dict.fromkeys(("tokens", "width", "num_codes", "step"), int),
    "levels": list,
    "captions": bool,
    "settings": dict,
}


# --- of a tokenizer -----------------------------------------------------------------------------------------


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
        settings: plain JSON values for the record.

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
        prior="" if prior is None else prior.id,
        step=round(1000 * quantization) if num_codes is None else 0,
        captions=captions,
        settings=settings or {},
    )


def check_model(header: Header, model: TexTok) -> None:
    """Refuse a file that another model made; ``ValueError`` names both models and says what to do."""
    if weights_hash(header.model_id) != weights_hash(model.model_id):
        raise ValueError(
            f"model: got {model.model_id!r}, expected {header.model_id!r}; load the model that made it"
        )
    expected = header_for(model)
    shapes = [(h.kind, h.tokens, h.width, h.levels, h.num_codes) for h in (header, expected)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"damaged: the header records {shapes[0]}, expected {shapes[1]}")
