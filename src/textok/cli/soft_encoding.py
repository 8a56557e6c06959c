"""Pictures to records of tokens, by a fixed or a soft budget; tells how a soft one was met."""

import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from textok.cli.choices import PictureChoice
from textok.cli.soft import SoftChoice

if TYPE_CHECKING:
    from textok.budgets.encoder import Sizes, SoftEncoder
    from textok.codec import Record
    from textok.data import Batch
    from textok.pipeline.image_tokenizer import ImageTokenizer

_SAMPLE = 256


@runtime_checkable
class PictureEncoder(Protocol):
    """Makes records of batches."""

    def records(self, batch: "Batch") -> list["Record"]:
        """The pictures of a batch with their tokens."""
        ...

    def calibration(self) -> dict[str, Any]:
        """What a sample said before the first picture: plain values, none where nothing was calibrated."""
        ...

    def outcome(self) -> dict[str, Any]:
        """What became of the pictures so far: plain values, none where all have one budget."""
        ...


def picture_encoder(
    soft: SoftChoice,
    tokenizer: "ImageTokenizer",
    pictures: PictureChoice,
    *,
    sizes: "Sizes",
    batch_size: int,
) -> PictureEncoder:
    """The encoder of a choice; a mean is calibrated here, on a sample of the pictures.

    Args:
        soft: fixed or not.
        tokenizer: encodes.
        pictures: those to come.
        sizes: what measures their coded tokens, for a mean of bytes.
        batch_size: pictures at a time.

    Raises:
        ValueError: when the budget does not fit the tokenizer, or there are too few pictures to calibrate on.
    """
    if not soft.is_range:
        return FixedEncoder(tokenizer, None if soft.budget is None else int(soft.budget), batch_size)
    from textok.budgets.encoder import SoftEncoder

    budget, chooser = soft.soft_budget(tokenizer.model.config.num_latents), soft.find_chooser(tokenizer)
    encoder = SoftEncoder(tokenizer, budget, chooser=chooser, sizes=sizes, batch_size=batch_size)
    if soft.is_mean:
        _calibrate(encoder, pictures, batch_size=batch_size)
    return RangeEncoder(encoder)


class FixedEncoder:
    """One budget for all, the model's whole length when None."""

    def __init__(self, tokenizer: "ImageTokenizer", budget: int | None, batch_size: int) -> None:
        self._tokenizer, self._batch_size = tokenizer, batch_size
        self._budget = tokenizer.model.budget(budget)

    def records(self, batch: "Batch") -> list["Record"]:
        """See :class:`PictureEncoder`."""
        tokens = self._tokenizer.encode(
            batch.images,
            batch.captions,
            num_tokens=self._budget,
            keep_size=True,
            batch_size=self._batch_size,
        )
        return _records(batch, list(tokens.values), grid=tokens.grid)

    def calibration(self) -> dict[str, Any]:
        """See :class:`PictureEncoder`."""
        return {}

    def outcome(self) -> dict[str, Any]:
        """See :class:`PictureEncoder`."""
        return {}


@dataclass
class RangeEncoder:
    """To each picture what it needs, counting those that did not get there."""

    encoder: "SoftEncoder"
    not_reached: int = 0
    beyond: int = 0

    def records(self, batch: "Batch") -> list["Record"]:
        """See :class:`PictureEncoder`."""
        tokens = self.encoder.encode(batch.images, batch.captions, keep_size=True)
        self.not_reached += sum(not one.reached for one in tokens)
        self.beyond += sum(one.budget > self.encoder.bounds.high for one in tokens)
        return _records(batch, [one.values for one in tokens], grid=tokens[0].grid)

    def calibration(self) -> dict[str, Any]:
        """Threshold, and of the sample its pictures, mean and standard error."""
        found = self.encoder.calibration
        if found is None:
            return {}
        sample = {"pictures": found.pictures, "mean": found.mean, "standard_error": found.standard_error}
        by = "loss" if self.encoder.budget.by_loss else "quality"
        return {"equal": by, "threshold": found.threshold, "sample": sample}

    def outcome(self) -> dict[str, Any]:
        """Threshold, pictures that do not reach it, and pictures beyond the range."""
        threshold = self.encoder.goal.threshold
        return {"threshold": threshold, "not_reached": self.not_reached, "beyond": self.beyond}


def budgets_told(soft: SoftChoice, facts: dict[str, Any]) -> list[str]:
    """How a soft budget was met, line by line: the threshold, what a sample said, pictures that do not reach it."""
    if "threshold" not in facts:
        return []
    by_loss = facts.get("equal") == "loss" or soft.loss is not None
    threshold = f"{facts['threshold']:.4g} {'dB' if soft.measure == 'psnr' else 'of distance'}"
    line = f"  loss of each picture: at most {threshold}" if by_loss else f"  quality asked for: {threshold}"
    if sample := facts.get("sample"):
        unit = "tokens" if soft.bytes is None else "bytes"
        error = f"standard error {sample['standard_error']:.2g}"
        line += f"; a sample of {sample['pictures']} has a mean of {sample['mean']:.2f} {unit}, {error}"
    if soft.bytes is not None:
        line += f"; in the file {facts['token_bytes_per_image']:.2f}"
    lines = [line] if by_loss else [line, f"  pictures that do not reach it: {facts['not_reached']}"]
    return lines if soft.beyond is None else [*lines, f"  pictures beyond the range: {facts['beyond']}"]


def _records(batch: "Batch", values: Sequence[Any], *, grid: tuple[int, int]) -> list["Record"]:
    from textok.codec import Record

    rows = zip(batch.keys, values, batch.captions, strict=True)
    return [Record(key=key, values=one, grid=grid, caption=caption) for key, one, caption in rows]


def _calibrate(encoder: "SoftEncoder", pictures: PictureChoice, *, batch_size: int) -> None:
    """On pictures drawn evenly from all of them, each as likely as the others (reservoir sampling)."""
    import torch

    draws, sample, seen = random.Random(0), list[tuple[Any, str]](), 0
    with closing(pictures.batches(encoder.tokenizer, batch_size=batch_size, title="sample")) as batches:
        for batch in batches:
            for image, caption in zip(batch.images, batch.captions, strict=True):
                seen += 1
                place = len(sample) if len(sample) < _SAMPLE else draws.randrange(seen)
                if place < _SAMPLE:  # cloned: a view would keep the whole batch
                    sample[place : place + 1] = [(image.clone(), caption)]
    encoder.calibrate(torch.stack([one[0] for one in sample]), [one[1] for one in sample], keep_size=True)
