"""What a budget is: a number of tokens, or a range and the quality, drop, mean or size that decides within it."""

import math
import re
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from textok.checks import check, check_choice
from textok.objectives.quality import MeasureName, find_measure

RANGES_256 = {"short": (80, 150), "middle": (120, 220), "long": (150, 250)}
"""Named ranges for tokenizers of K = 256 tokens; :func:`token_range` gives the same shares of another K."""

_DECISIONS = ("quality", "max_drop", "mean_tokens", "bytes")


def token_range(text: str, num_latents: int) -> tuple[int, int]:
    """Fewest and most tokens of a picture: "16", "8-24", or a name of ``RANGES_256``; else ``ValueError``.

    A name stands for the same shares of the tokenizer's K, rounded.
    """
    if text in RANGES_256:
        low, high = (max(1, round(share * num_latents / 256)) for share in RANGES_256[text])
        return low, high
    if not re.fullmatch(r"\d{1,6}(-\d{1,6})?", text):
        names = ", ".join(RANGES_256)
        raise ValueError(
            f"num_tokens: got {text!r}, expected a number such as 16, a range such as 8-24, or one of {names}"
        )
    low, _, high = text.partition("-")
    return int(low), int(high or low)


@dataclass(frozen=True)
class SoftBudget:
    """How many tokens a picture may have, and what decides.

    Exactly one of ``quality``, ``max_drop``, ``mean_tokens`` and ``bytes`` is set; none of them makes a fixed budget
    where ``low`` is ``high``. The last two are met by a quality or a drop that is calibrated on a sample. A picture
    that cannot reach the quality gets ``high`` tokens; a drop is within reach of every picture.

    Attributes:
        low: fewest tokens of a picture.
        high: most tokens.
        quality: the quality that each picture has to reach: so many dB or more, or such a distance or less.
        max_drop: how much worse than the same picture at ``high`` tokens a picture may be, in the measure's unit.
        mean_tokens: the mean over the pictures.
        bytes: the mean size of a picture's tokens in a .ttk file, coded by the probability model; names and
            captions are not counted.
        target: what a mean is met by: one "quality" for all pictures, which serves hard ones, or one "drop" for
            all, which spends tokens where they do most and gives the better mean quality. The default is the
            drop, or with an overflow share the quality.
        measure: "psnr" in dB, or "perceptual", a distance of deep features.
        overflow_share: the share of the pictures, at most, that may have more than ``high`` tokens, up to all K,
            where that reaches the quality.
    """

    low: int
    high: int
    _: KW_ONLY
    quality: float | None = None
    max_drop: float | None = None
    mean_tokens: float | None = None
    bytes: float | None = None
    target: Literal["quality", "drop"] | None = None
    measure: MeasureName = "psnr"
    overflow_share: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high:
            raise ValueError(f"num_tokens: got {self.low} to {self.high}, expected 1 <= low <= high")
        if not self.is_fixed:
            self._check_decision()
        check_choice(self, "", target=(None, "quality", "drop"))
        if self.target is not None and not self.is_mean:
            raise ValueError(f"target: got {self.target!r}, expected none without mean_tokens or bytes")
        find_measure(self.measure)
        check(self, "", "overflow_share", at_least=0, at_most=1)
        if self.by_drop and self.overflow_share:
            raise ValueError(
                f"overflow_share: got {self.overflow_share} with a drop, which no picture needs more tokens for; "
                "leave one of them out"
            )

    def _check_decision(self) -> None:
        decisions = self._decisions
        if len(decisions) != 1:
            got = " and ".join(decisions) or f"the range {self.low}-{self.high} alone"
            raise ValueError(f"num_tokens: got {got}, expected one of {', '.join(_DECISIONS)} to decide")
        ((name, value),) = decisions.items()
        if not math.isfinite(value) or (name != "quality" and value < 0):
            raise ValueError(f"{name}: got {value:g}, expected a finite number, 0 or more")
        if self.mean_tokens is not None and not self.low <= self.mean_tokens <= self.high:
            raise ValueError(
                f"mean_tokens: got {self.mean_tokens:g}, expected within the range {self.low} to {self.high}"
            )

    @property
    def _decisions(self) -> dict[str, float]:
        return {name: value for name in _DECISIONS if (value := getattr(self, name)) is not None}

    @property
    def is_fixed(self) -> bool:
        """Whether all pictures get the same number of tokens."""
        return self.low == self.high and not self._decisions and not self.overflow_share

    @property
    def is_mean(self) -> bool:
        """Whether a mean is to be met, which is calibrated on a sample."""
        return self.mean_tokens is not None or self.bytes is not None

    @property
    def by_drop(self) -> bool:
        """Whether pictures share a drop, not a quality."""
        by_default = self.target is None and self.quality is None and not self.overflow_share
        return self.target == "drop" or self.max_drop is not None or by_default
