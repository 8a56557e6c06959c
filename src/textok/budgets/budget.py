"""What a soft budget is: a range of tokens, and the quality, mean or size that decides within it."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from textok.objectives.quality import MeasureName, find_measure

RANGES_256 = {"short": (80, 150), "middle": (120, 220), "long": (150, 250)}
"""Recipes of ranges, for tokenizers of K = 256 tokens; :func:`named_range` has the same shares of others."""


def named_range(name: str, num_latents: int) -> tuple[int, int]:
    """Fewest and most tokens of a range of ``RANGES_256``, as the same shares of K = ``num_latents``, rounded.

    Raises:
        ValueError: for another name.
    """
    if name not in RANGES_256:
        raise ValueError(f"range: got {name!r}; expected one of {', '.join(RANGES_256)}")
    low, high = (max(1, round(share * num_latents / 256)) for share in RANGES_256[name])
    return low, high


@dataclass(frozen=True)
class SoftBudget:
    """About how many tokens a picture may have, and what decides.

    Exactly one of ``quality``, ``loss``, ``mean_tokens`` and ``bytes`` is given; the last two are met by a quality
    or loss that is calibrated on a sample. A picture that cannot reach the quality gets ``high`` tokens and is
    flagged; a loss is within reach of every picture.

    Attributes:
        low: fewest tokens of a picture.
        high: most tokens.
        quality: to be reached, in the measure's unit: dB or more, distance or less.
        loss: how much worse than the same picture at ``high`` tokens a picture may be, in the measure's unit.
        mean_tokens: the mean over the pictures.
        bytes: the mean size of a picture's tokens in a .ttk file, coded by the probability model; names and
            captions not counted.
        equal: what a mean is met by: one quality for all pictures, which serves hard ones, or one loss for all,
            which spends tokens where they do most and gives the better mean quality. Default the loss, or with
            ``strict=False`` the quality.
        measure: "psnr" in dB, or "perceptual", a distance of deep features.
        strict: False lets some pictures go beyond ``high``, up to all K, where that reaches the quality.
        beyond: the share of the pictures, at most, that may; only with ``strict=False``.
    """

    low: int
    high: int
    _: KW_ONLY
    quality: float | None = None
    loss: float | None = None
    mean_tokens: float | None = None
    bytes: float | None = None
    equal: Literal["quality", "loss"] | None = None
    measure: MeasureName = "psnr"
    strict: bool = True
    beyond: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high:
            raise ValueError(f"budget: got {self.low} to {self.high} tokens; expected 1 <= low <= high")
        self._check_target()
        self._check_equal()
        find_measure(self.measure)
        if self.strict and self.beyond is not None:
            raise ValueError(
                f"beyond: got {self.beyond} with strict=True; pass strict=False, or leave it out"
            )
        if not self.strict and (self.beyond is None or not 0 < self.beyond <= 1):
            raise ValueError(
                f"beyond: got {self.beyond} with strict=False; expected the share of pictures, above 0 up to 1"
            )

    def _check_equal(self) -> None:
        if self.equal not in (None, "quality", "loss"):
            raise ValueError(f"equal: got {self.equal!r}; expected quality or loss")
        if self.equal is not None and self.mean_tokens is None and self.bytes is None:
            raise ValueError(f"equal: got {self.equal!r} without a mean of tokens or bytes; leave it out")
        if self.loss is not None and self.loss < 0:
            raise ValueError(f"loss: got {self.loss:g}; expected 0 or more")
        if self.by_loss and not self.strict:
            raise ValueError("strict: got False with a loss, which no picture needs to go beyond `high` for")

    def _check_target(self) -> None:
        targets = {name: getattr(self, name) for name in ("quality", "loss", "mean_tokens", "bytes")}
        given = {name: value for name, value in targets.items() if value is not None}
        if len(given) != 1:
            raise ValueError(f"budget: got {given or 'no target'}; expected one of {', '.join(targets)}")
        if not all(math.isfinite(value) for value in given.values()):
            raise ValueError(f"budget: got {given}; expected a finite number")
        if self.mean_tokens is not None and not self.low <= self.mean_tokens <= self.high:
            raise ValueError(
                f"mean_tokens: got {self.mean_tokens:g}; expected within the range {self.low} to {self.high}"
            )

    @property
    def by_loss(self) -> bool:
        """Whether pictures share a loss, not a quality."""
        by_default = self.equal is None and self.quality is None and self.strict
        return self.equal == "loss" or self.loss is not None or by_default

    @property
    def share_beyond(self) -> float:
        """Share of the pictures that may have more than ``high`` tokens."""
        return self.beyond or 0.0
