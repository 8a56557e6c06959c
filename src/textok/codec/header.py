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

from textok.budgets.search import Sizes
from textok.codec.coding import UNIT, Prior, check_size, code_lengths
from textok.codec.prior import CodePrior, LatentPrior, digits, digits_of, plain_latents
from textok.models.bottleneck import FSQConfig
from textok.models.checkpoint import weights_hash
from textok.models.tokenizer import TexTok
from textok.writing import strict_json

MAX_HEADER = 1 << 16
_STEPS = (10, 100_000)  # thousandths of the probability model's
_MAX_STEPS = 1 << 31


@dataclass(frozen=True, kw_only=True)
class Header:
    """Everything about a file's pictures that holds for all of them.

    Attributes:
        model_id: the id of the tokenizer; no other can decode them.
        kind: "latents", of ``width`` channels, or "codes", of ``num_codes`` in the mixed radix ``levels``.
        tokens, width: most tokens of a picture, and numbers per token: channels, or digits.
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
        check_size(self.tokens, self.width)
        if self.kind == "latents":
            if self.levels or self.num_codes or not _STEPS[0] <= self.step <= _STEPS[1]:
                raise ValueError(
                    f"step: got {str(self.step)[:9]} thousandths, expected {_STEPS}, and no levels beside it"
                )
            return
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
        """The probability model to code with: the plain one, or the prior that is named here, else ``ValueError``."""
        if not self.prior:
            if self.kind == "latents":
                return plain_latents(self.tokens, self.width).scaled(self.step)
            return CodePrior(levels=self.levels, tokens=self.tokens)
        if prior is None or prior.id != self.prior:
            got = "none" if prior is None else repr(prior.id)
            raise ValueError(
                f"probability model: got {got}, expected {self.prior!r}, which the file was written with;"
                " load the model with the codec.safetensors that belongs to it"
            )
        levels = prior.levels if isinstance(prior, CodePrior) else ()
        if (prior.tokens, prior.width, levels) != (self.tokens, self.width, self.levels):
            raise ValueError(
                f"probability model: got one for {prior.tokens} tokens of {prior.width} numbers, "
                f"expected {self.kind}, {self.tokens} of {self.width}"
            )
        return prior.scaled(self.step) if isinstance(prior, LatentPrior) else prior

    def to_integers(
        self, values: Float[Tensor, "k c"] | Integer[Tensor, "k"], coder: Prior
    ) -> Int[ndarray, "k w"]:
        """Latents as whole steps, codes as digits; ``ValueError`` for other kinds, too many or too large ones."""
        if not 1 <= len(values) <= self.tokens:
            raise ValueError(f"tokens: got {len(values)}, expected 1 to {self.tokens}")
        shape, expected = (self.width,), f"latents (k, {self.width})"
        if self.kind == "codes":
            shape, expected = (), "whole codes (k,)"
        if values.shape[1:] != shape or values.is_floating_point() == (self.kind == "codes"):
            raise ValueError(f"tokens: got {tuple(values.shape)} of {values.dtype}, expected {expected}")
        if isinstance(coder, LatentPrior):
            steps = np.rint(values.cpu().double().numpy() * UNIT / coder.step[: len(values)])
            if not np.abs(steps).max() < _MAX_STEPS:  # also where it is not a number
                raise ValueError(
                    f"latents: got up to {values.abs().max()}, expected finite ones below 2^31 steps"
                )
            return steps.astype(np.int64)
        codes = values.cpu().numpy().astype(np.int64)
        if codes.min() < 0 or codes.max() >= self.num_codes:
            raise ValueError(f"codes: got {codes.min()} to {codes.max()}, expected 0 to {self.num_codes - 1}")
        return digits_of(codes, self.levels)

    def to_values(
        self, numbers: Int[ndarray, "k w"], coder: Prior
    ) -> Float[Tensor, "k c"] | Integer[Tensor, "k"]:
        """Latents or codes of the coder's integers; ``ValueError`` for a code that the tokenizer does not have."""
        if isinstance(coder, LatentPrior):
            return torch.from_numpy((numbers * coder.step[: len(numbers)] / UNIT).astype(np.float32))
        codes = np.ravel_multi_index(tuple(numbers.T), self.levels, order="F")
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


def levels_of(model: TexTok) -> tuple[int, ...]:
    """Digits of a code: the scalars of a finite scalar quantizer, else equal digits; none of a tokenizer of latents."""
    bottleneck = model.config.bottleneck
    if isinstance(bottleneck, FSQConfig):
        return bottleneck.levels
    return () if model.num_codes is None else digits(model.num_codes)


def header_for(
    model: TexTok,
    *,
    prior: Prior | None = None,
    quantization: float = 1.0,
    captions: bool = True,
    settings: Mapping[str, Any] | None = None,
) -> Header:
    """The header of a file with this tokenizer's tokens, coded by a probability model or the plain one.

    The quantization, 0.01 to 100 (else ``ValueError``), scales the steps of a continuous tokenizer's latents; codes are
    exact at any. The settings are plain JSON values for the record.
    """
    least, most = (step / 1000 for step in _STEPS)
    if not least <= quantization <= most:  # also where it is not a number
        raise ValueError(f"quantization: got {quantization:g}, expected {least:g} to {most:g}")
    levels = levels_of(model)
    return Header(
        model_id=model.model_id,
        kind="codes" if levels else "latents",
        tokens=model.config.num_latents,
        width=len(levels) or model.config.latent_dim,
        levels=levels,
        num_codes=model.num_codes or 0,
        prior="" if prior is None else prior.id,
        step=0 if levels else round(1000 * quantization),
        captions=captions,
        settings=settings or {},
    )


def coded_sizes(model: TexTok, *, prior: Prior | None = None, quantization: float = 1.0) -> Sizes:
    """A function from tokens to their bytes in a .ttk file, which codes nothing.

    Names, captions, header and index are not counted; a chunk of many pictures is longer than the sum by a few bytes.
    The arguments and errors are those of :func:`header_for`.
    """
    header = header_for(model, prior=prior, quantization=quantization)
    coder = header.coder(prior)

    def sizes(values: Float[Tensor, "b k c"] | Integer[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        numbers = np.stack([header.to_integers(one, coder) for one in values.cpu()])
        return torch.from_numpy(code_lengths(numbers, coder) / 8)

    return sizes


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
