"""What a soft budget is: a range of tokens, and the quality, mean or size that decides within it."""

import math
from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal

from textok.pipeline.picture_quality import MeasureName, find_measure

RANGES_256 = {"short": (80, 150), "middle": (120, 220), "long": (150, 250)}
"""Recipes of ranges, for tokenizers of K = 256 tokens."""

RANGES_32 = {"short": (10, 19), "middle": (15, 28), "long": (19, 31)}
"""The same shares of K = 32, rounded."""


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
        bytes: the mean size of a picture's tokens.
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

    def in_tokens(self, bytes_per_token: float) -> "SoftBudget":
        """A budget of bytes as one of tokens; others as they are.

        Raises:
            ValueError: when so many bytes are a mean outside the range of tokens.
        """
        if self.bytes is None:
            return self
        mean = self.bytes / bytes_per_token
        least, most = self.low * bytes_per_token, self.high * bytes_per_token
        if not least <= self.bytes <= most:
            raise ValueError(
                f"bytes: got {self.bytes:g}, which is {mean:.1f} tokens of {bytes_per_token:.4g} bytes; expected "
                f"{least:.4g} to {most:.4g} bytes, those of {self.low} to {self.high} tokens"
            )
        within = float(min(max(mean, self.low), self.high))  # a quotient may be rounded over the edge
        return replace(self, bytes=None, mean_tokens=within)
