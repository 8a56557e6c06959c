"""The options that say how many tokens each picture gets."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

if TYPE_CHECKING:
    from textok.budgets.encoder import Chooser, SoftBudget
    from textok.pipeline.image_tokenizer import ImageTokenizer

_NAMED = ("short", "middle", "long")


@dataclass(frozen=True, kw_only=True)
class SoftChoice:
    """A fixed budget, or a range with what decides within it."""

    budget: Annotated[
        str | None, arg(metavar="K|LOW-HIGH|short|middle|long", help_behavior_hint="(default: all)")
    ] = None
    """tokens a picture: a number for all alike, or a range within which each gets as few as it needs; short, middle \
and long are 80-150, 120-220 and 150-250 of 256 tokens, and the same shares of a model that has others"""
    mean_tokens: Annotated[float | None, arg(metavar="N", help_behavior_hint="")] = None
    """with a range: so many tokens on average, found on a sample of the pictures"""
    bytes: Annotated[float | None, arg(metavar="N", help_behavior_hint="")] = None
    """with a range: so many bytes of tokens on average in the file, found likewise; names and captions come on top"""
    quality: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="")] = None
    """with a range: the PSNR in dB (or --measure) that each picture is to reach"""
    loss: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="")] = None
    """with a range: how much worse than itself at the most tokens each picture may be"""
    measure: Literal["psnr", "perceptual"] = "psnr"
    """what quality is: PSNR in dB, or a perceptual distance, less of which is better"""
    equal: Annotated[
        Literal["quality", "loss"] | None,
        arg(metavar="{quality,loss}", help_behavior_hint="(default: loss)"),
    ] = None
    """with --mean-tokens or --bytes: whether one loss or one quality for all gives that mean; a loss gives the better \
pictures"""
    beyond: Annotated[float | None, arg(metavar="SHARE", help_behavior_hint="")] = None
    """let at most this share of the pictures, such as 0.05, have more tokens than the range where that reaches the \
quality; a mean is then met by one quality for all"""
    chooser: Annotated[str, arg(metavar="oracle|bisection|predictor|FOLDER")] = "bisection"
    """with a range, how budgets are found: decoding at every one, at log2 of them, or by the model's predictor \
(or that of a folder), which decodes nothing, and tells qualities better than losses"""

    def __post_init__(self) -> None:
        numbers = self.budget is None or re.fullmatch(r"\d{1,6}(-\d{1,6})?", self.budget)
        if not numbers and self.budget not in _NAMED:
            raise ValueError(
                f"budget: got {self.budget!r}; expected a number such as 16, a range such as 8-24, or one of "
                f"{', '.join(_NAMED)}"
            )
        self._check_target()
        self._check_soft()

    def _check_target(self) -> None:
        """With a range one thing decides within it; without, nothing has to."""
        given = [f"--{name.replace('_', '-')}" for name, value in self._targets.items() if value is not None]
        told = ", ".join(f"--{name.replace('_', '-')}" for name in self._targets)
        if self.is_range and not given:
            raise ValueError(
                f"budget: got the range {self.budget} alone; add what decides within it: one of {told}"
            )
        if self.is_range and len(given) > 1:
            raise ValueError(f"budget: got {self.budget} with {' and '.join(given)}; expected one of them")
        if given and not self.is_range:
            raise ValueError(
                f"budget: got {self.budget or 'none'} with {given[0]}, which decides within a range; "
                "give one such as --budget 8-24, or leave it out"
            )

    def _check_soft(self) -> None:
        """Options that a range, or a mean, gives a meaning to."""
        soft = {"equal": self.equal is not None, "measure": self.measure != "psnr"}
        soft |= {"beyond": self.beyond is not None, "chooser": self.chooser != "bisection"}
        if not self.is_range and any(soft.values()):
            name = next(name for name, given in soft.items() if given)
            raise ValueError(f"{name}: only with a range of tokens such as --budget 8-24; leave it out")
        if self.equal is not None and not self.is_mean:
            raise ValueError("equal: only with --mean-tokens or --bytes; leave it out")
        if self.beyond is not None and (self.loss is not None or self.equal == "loss"):
            raise ValueError(
                "beyond: got one loss for all, which no picture needs more tokens for; leave one of them out"
            )

    @property
    def _targets(self) -> dict[str, float | None]:
        return {
            "mean_tokens": self.mean_tokens,
            "bytes": self.bytes,
            "quality": self.quality,
            "loss": self.loss,
        }

    @property
    def is_range(self) -> bool:
        """Whether each picture may get another number of tokens."""
        return self.budget is not None and ("-" in self.budget or self.budget in _NAMED)

    @property
    def is_mean(self) -> bool:
        """Whether what is asked for is a mean, which is calibrated on a sample."""
        return self.mean_tokens is not None or self.bytes is not None

    def settings(self) -> dict[str, Any]:
        """What was asked for, for the record."""
        asked: dict[str, Any] = {"budget": self.budget, **self._targets}
        asked |= {"equal": self.equal, "beyond": self.beyond}
        if self.is_range:
            by = self.chooser if self.chooser in ("oracle", "bisection") else "predictor"
            asked |= {"chooser": by, "measure": self.measure}
        return {name: value for name, value in asked.items() if value is not None}

    def soft_budget(self, num_latents: int) -> "SoftBudget":
        """The budget, for a tokenizer of so many tokens.

        Raises:
            ValueError: when its numbers make no sense.
        """
        from textok.budgets.encoder import SoftBudget, named_range

        asked = str(self.budget)
        low, high = named_range(asked, num_latents) if asked in _NAMED else map(int, asked.split("-"))
        soft = {"equal": self.equal, "measure": self.measure, "beyond": self.beyond}
        return SoftBudget(low, high, **self._targets, **soft, strict=self.beyond is None)

    def find_chooser(self, tokenizer: "ImageTokenizer") -> "Chooser":
        """Its name, or the predictor."""
        from textok.budgets.predictor import QualityPredictor

        if self.chooser == "oracle" or self.chooser == "bisection":
            return self.chooser
        own = tokenizer.model_id.rpartition("-")[0]
        return QualityPredictor.from_pretrained(own if self.chooser == "predictor" else self.chooser)
