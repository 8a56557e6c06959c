"""Masked prediction of codes: the cosine schedule, the loss, and decoding in a few steps.

MaskGIT (Chang et al. 2022, arXiv 2202.04200, section 3). Codes of a large vocabulary come as digits: the network
gives logits (b, k, f, n) of f digits with n values each, the most significant digit first; n^f may exceed the
vocabulary, and codes beyond it are never drawn.

Axes: b batch, k codes, f digits of a code, n values of a digit, m masked codes.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from textok.sampling.flow import OnStep
from textok.sampling.random import Random, uniform

Codes = Int[Tensor, "b k"]
Logits = Float[Tensor, "b k f n"]
Predict = Callable[[Codes, float], Logits]
"""(codes, some masked; how far decoding has come after this step, in (0, 1]) -> logits."""


def mask_share(progress: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Cosine schedule: the share of codes that is masked, from 1 at progress 0 to 0 at progress 1."""
    return torch.cos(math.pi / 2 * progress).clamp(min=0)


def digits_of(codes: Int[Tensor, "*m"], *, base: int, factors: int) -> Int[Tensor, "*m f"]:
    """Digits of codes, the most significant first."""
    places = base ** torch.arange(factors - 1, -1, -1, device=codes.device)
    return codes[..., None] // places % base


# --- training -------------------------------------------------------------------------------------------


def mask_codes(
    codes: Codes, *, mask_code: int, generator: torch.Generator, lengths: Int[Tensor, "b"] | None = None
) -> tuple[Codes, Bool[Tensor, "b k"]]:
    """Mask at least one code per row: as many as the schedule gives for a random progress, at random positions.

    ``lengths`` says how many codes each row has, at least 1; those past it are left as they are. Returned are the
    codes with ``mask_code`` in some places, and which ones.
    """
    rows, most = codes.shape
    if lengths is None:
        lengths = torch.full((rows,), most)
    elif len(lengths) != rows or int(lengths.min()) < 1 or int(lengths.max()) > most:
        raise ValueError(f"lengths: got {lengths.tolist()}, expected {rows} of them within 1 to {most}")
    lengths = lengths.to(codes.device)
    present = torch.arange(most, device=codes.device)[None, :] < lengths[:, None]
    share = mask_share(uniform((len(codes),), generator, device=codes.device))  # (b,)
    count = (share * lengths).ceil()
    order = uniform(codes.shape, generator, device=codes.device)
    is_masked = _ranks(order.masked_fill(~present, math.inf)) < count[:, None]
    return codes.masked_fill(is_masked, mask_code), is_masked


def masked_loss(logits: Logits, codes: Codes, is_masked: Bool[Tensor, "b k"]) -> Float[Tensor, ""]:
    """Cross entropy of the masked codes in nats per code, the sum over its digits; at least one must be masked."""
    factors, base = logits.shape[2:]
    targets = digits_of(codes[is_masked], base=base, factors=factors)  # (m f)
    predictions = logits[is_masked].float()  # (m f n)
    return factors * F.cross_entropy(predictions.flatten(0, 1), targets.flatten())


# --- decoding -------------------------------------------------------------------------------------------


def decode_masked(
    predict: Predict,
    *,
    shape: tuple[int, int],
    mask_code: int,
    steps: int,
    temperature: float = 1.0,
    confidence_temperature: float = 4.5,
    generator: Random,
    device: torch.device | str = "cpu",
    on_step: OnStep | None = None,
) -> Codes:
    """Codes, all masked at first; each step draws all of them and keeps those it is most confident of.

    Args:
        predict: logits of codes, some of them masked; guidance is its own affair.
        shape: (b, k).
        mask_code: stands for a masked code, and is the number of codes.
        steps: passes through the network; more than k are cut to k, as each step keeps at least one code.
        temperature: of the distribution that codes are drawn from, above 0.
        confidence_temperature: scale of the Gumbel noise on the log probability of a drawn code, by which it is kept;
            falls linearly to 0. Without noise the most common codes come first, and samples lack variety.
        device: where ``predict`` wants the codes.
        on_step: is called with the number of finished steps.

    Raises:
        ValueError: for settings out of range.
    """
    _check_settings(steps, temperature, confidence_temperature)
    codes = torch.full(shape, mask_code, device=device)
    is_masked, lengths = torch.ones_like(codes, dtype=torch.bool), codes.new_full(shape[:1], shape[1])
    remaining = lengths
    steps = min(steps, shape[1])
    shares = mask_share(torch.linspace(0, 1, steps + 1, dtype=torch.float64)[1:])
    for index, share in enumerate(shares.tolist()):
        progress = (index + 1) / steps
        drawn, confidence = sample_codes(
            predict(codes, progress), num_codes=mask_code, temperature=temperature, generator=generator
        )
        confidence += confidence_temperature * (1 - progress) * _gumbel(shape, generator, codes.device)
        planned = (share * lengths).floor().long()  # (b,)
        remaining = torch.minimum(remaining - 1, planned).clamp(min=0)
        accepted = most_confident(confidence, is_masked, remaining=remaining)
        codes, is_masked = torch.where(accepted, drawn, codes), is_masked & ~accepted
        if on_step is not None:
            on_step(index + 1)
    return codes


def most_confident(
    confidence: Float[Tensor, "b k"], is_masked: Bool[Tensor, "b k"], *, remaining: Int[Tensor, "b"]
) -> Bool[Tensor, "b k"]:
    """The masked codes to keep, so that each row has ``remaining`` masked ones left."""
    count = is_masked.sum(dim=1) - remaining
    return _ranks((-confidence).masked_fill(~is_masked, math.inf)) < count[:, None]


def sample_codes(
    logits: Logits, *, num_codes: int, temperature: float, generator: Random
) -> tuple[Codes, Float[Tensor, "b k"]]:
    """Codes drawn digit by digit, and their log probability at temperature 1.

    While the digits are those of the last code, the next may not exceed its.
    """
    factors, base = logits.shape[2:]
    last_code = digits_of(torch.tensor([num_codes - 1]), base=base, factors=factors)[0].tolist()
    codes = torch.zeros(logits.shape[:2], dtype=torch.long, device=logits.device)
    log_probability = torch.zeros(logits.shape[:2], device=logits.device)
    at_last = torch.ones_like(codes, dtype=torch.bool)
    for place, last in enumerate(last_code):
        scores = logits[:, :, place].float()  # (b k n)
        highest = torch.where(at_last, last, base - 1)
        drawn = uniform(codes.shape, generator, device=logits.device)
        digits = sample_digits((scores / temperature).softmax(dim=-1), drawn, highest=highest)
        log_probability += scores.log_softmax(dim=-1).gather(-1, digits[..., None])[..., 0]
        codes = codes * base + digits
        at_last &= digits == last
    return codes, log_probability


def sample_digits(
    probabilities: Float[Tensor, "b k n"], uniform: Float[Tensor, "b k"], *, highest: Int[Tensor, "b k"]
) -> Int[Tensor, "b k"]:
    """Draw from 0 to ``highest`` by inverting the cumulative distribution at ``uniform`` in [0, 1)."""
    cumulative = probabilities.cumsum(dim=-1).contiguous()
    total = cumulative.gather(-1, highest[..., None])  # (b k 1)
    digits = torch.searchsorted(cumulative, uniform[..., None] * total, right=True)
    return torch.minimum(digits[..., 0], highest)


def _check_settings(steps: int, temperature: float, confidence_temperature: float) -> None:
    if steps < 1:
        raise ValueError(f"steps: got {steps}, expected at least 1")
    if temperature <= 0:
        raise ValueError(f"temperature: got {temperature}, expected above 0")
    if confidence_temperature < 0:
        raise ValueError(f"confidence_temperature: got {confidence_temperature}, expected 0 or more")


def _ranks(values: Float[Tensor, "b k"]) -> Int[Tensor, "b k"]:
    """The rank of each value in the ascending order of its row, from 0."""
    return values.argsort(dim=1, stable=True).argsort(dim=1)


def _gumbel(shape: tuple[int, ...], generator: Random, device: torch.device | str) -> Float[Tensor, "..."]:
    drawn = uniform(shape, generator, device=device).clamp(min=torch.finfo(torch.float32).tiny)
    return -(-drawn.log()).log()
