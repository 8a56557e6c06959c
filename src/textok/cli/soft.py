"""The options that say how many tokens each picture gets."""

import random
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from textok.cli.choices import PictureChoice

if TYPE_CHECKING:
    from textok.codec import Record
    from textok.data import Batch
    from textok.pipeline.image_tokenizer import ImageTokenizer
    from textok.pipeline.soft_budget import Chooser, SoftBudget, SoftEncoder

_SAMPLE = 256

Encode = Callable[["Batch"], list["Record"]]


@dataclass(frozen=True, kw_only=True)
class SoftChoice:
    """A fixed budget, or a range with what decides within it."""

    budget: Annotated[str | None, arg(metavar="K|LOW-HIGH", help_behavior_hint="(default: all)")] = None
    """tokens a picture: a number for all alike, or a range within which each gets as few as it needs"""
    mean_tokens: Annotated[float | None, arg(metavar="N", help_behavior_hint="")] = None
    """with a range: so many tokens on average, found on a sample of the pictures"""
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
    """with --mean-tokens: whether one loss or one quality for all gives that mean; a loss gives the better pictures"""
    chooser: Annotated[str, arg(metavar="oracle|bisection|predictor|FOLDER")] = "bisection"
    """with a range, how budgets are found: decoding at every one, at log2 of them, or by the model's predictor \
(or that of a folder), which decodes nothing"""

    def __post_init__(self) -> None:
        if self.budget is not None and not re.fullmatch(r"\d{1,6}(-\d{1,6})?", self.budget):
            raise ValueError(
                f"budget: got {self.budget!r}; expected a number such as 16, or a range such as 8-24"
            )
        targets = sum(target is not None for target in (self.mean_tokens, self.quality, self.loss))
        if targets != int(self.is_range):
            raise ValueError(
                f"budget: got {self.budget or 'none'} with {targets} of --mean-tokens, --quality and --loss;"
                " expected one of them with a range such as 8-24, and none with a number"
            )

        soft = {"equal": self.equal is not None, "measure": self.measure != "psnr"}
        soft["chooser"] = self.chooser != "bisection"
        if not self.is_range and any(soft.values()):
            name = next(name for name, given in soft.items() if given)
            raise ValueError(f"{name}: only with a range of tokens such as --budget 8-24; leave it out")
        if self.equal is not None and self.mean_tokens is None:
            raise ValueError("equal: only with --mean-tokens; leave it out")

    @property
    def is_range(self) -> bool:
        """Whether each picture may get another number of tokens."""
        return self.budget is not None and "-" in self.budget

    def settings(self) -> dict[str, Any]:
        """What was asked for, for the record."""
        asked: dict[str, Any] = {"budget": self.budget, "mean_tokens": self.mean_tokens}
        asked |= {"quality": self.quality, "loss": self.loss, "equal": self.equal}
        if self.is_range:
            by = self.chooser if self.chooser in ("oracle", "bisection") else "predictor"
            asked |= {"chooser": by, "measure": self.measure}
        return {name: value for name, value in asked.items() if value is not None}

    def encoder(self, tokenizer: "ImageTokenizer", pictures: PictureChoice, *, batch_size: int) -> Encode:
        """What makes records of a batch; a mean is calibrated here, on a sample of the pictures.

        Raises:
            ValueError: when the budget does not fit the tokenizer, or there are too few pictures to calibrate on.
        """
        if not self.is_range:
            return self._fixed(tokenizer, batch_size=batch_size)
        from textok.pipeline.soft_budget import SoftEncoder

        chooser = self._chooser(tokenizer)
        encoder = SoftEncoder(tokenizer, self._soft_budget(), chooser=chooser, batch_size=batch_size)
        if self.mean_tokens is not None:
            _calibrate(encoder, pictures, batch_size=batch_size)
        return lambda batch: _soft_records(encoder, batch)

    def _soft_budget(self) -> "SoftBudget":
        from textok.pipeline.soft_budget import SoftBudget

        low, high = map(int, str(self.budget).split("-"))
        targets = {"mean_tokens": self.mean_tokens, "quality": self.quality, "loss": self.loss}
        return SoftBudget(low, high, **targets, equal=self.equal, measure=self.measure)

    def _chooser(self, tokenizer: "ImageTokenizer") -> "Chooser":
        from textok.models.quality_predictor import QualityPredictor

        if self.chooser == "oracle" or self.chooser == "bisection":
            return self.chooser
        own = tokenizer.model_id.rpartition("-")[0]
        return QualityPredictor.from_pretrained(own if self.chooser == "predictor" else self.chooser)

    def _fixed(self, tokenizer: "ImageTokenizer", *, batch_size: int) -> Encode:
        budget = tokenizer.model.budget(None if self.budget is None else int(self.budget))

        def encode(batch: "Batch") -> list["Record"]:
            tokens = tokenizer.encode(
                batch.images, batch.captions, num_tokens=budget, keep_size=True, batch_size=batch_size
            )
            return _records(batch, list(tokens.values), grid=tokens.grid)

        return encode


def _soft_records(encoder: "SoftEncoder", batch: "Batch") -> list["Record"]:
    tokens = encoder.encode(batch.images, batch.captions, keep_size=True)
    return _records(batch, [one.values for one in tokens], grid=tokens[0].grid)


def _records(batch: "Batch", values: list[Any], *, grid: tuple[int, int]) -> list["Record"]:
    from textok.codec import Record

    rows = zip(batch.keys, values, batch.captions, strict=True)
    return [Record(key=key, values=one, grid=grid, caption=caption) for key, one, caption in rows]


def _calibrate(encoder: "SoftEncoder", pictures: PictureChoice, *, batch_size: int) -> None:
    """On pictures drawn evenly from all of them, each as likely as the others (reservoir sampling)."""
    import torch

    draws, sample, seen = random.Random(0), list[tuple[Any, str]](), 0
    with closing(pictures.batches(encoder.tokenizer, batch_size=batch_size)) as batches:
        for batch in batches:
            for one in zip(batch.images, batch.captions, strict=True):
                seen += 1
                if len(sample) < _SAMPLE:
                    sample.append(one)
                elif (place := draws.randrange(seen)) < _SAMPLE:
                    sample[place] = one
    encoder.calibrate(torch.stack([one[0] for one in sample]), [one[1] for one in sample], keep_size=True)
