"""How many tokens each picture gets: the options of ``textok encode``, and the encoder that they make."""

import random
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import torch
from tyro.conf import arg

from textok.budgets import RANGES_256, SoftBudget, token_range
from textok.budgets.encoder import SoftEncoder
from textok.budgets.predictor import QualityPredictor
from textok.budgets.search import Sizes
from textok.cli.options import optional
from textok.data import Batch
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pipeline.tokens import Tokens

_SAMPLE = 256


@dataclass(frozen=True, kw_only=True)
class BudgetChoice:
    """A fixed number of tokens, or a range with what decides within it."""

    num_tokens: Annotated[str | None, optional("K|LOW-HIGH|short|middle|long", "all")] = None
    """tokens of each picture: a number for all alike, or a range within which each gets as few as it needs; short, \
middle and long are 80-150, 120-220 and 150-250 of 256 tokens, and the same shares of a model that has others"""
    mean_tokens: Annotated[float | None, optional("N")] = None
    """with a range: this many tokens on average, calibrated on a sample of the pictures"""
    bytes: Annotated[float | None, optional("N")] = None
    """with a range: this many bytes of tokens on average in a .ttk file; names and captions come on top"""
    quality: Annotated[float | None, optional("FLOAT")] = None
    """with a range: the PSNR in dB (or --measure) that each picture is to reach"""
    max_drop: Annotated[float | None, optional("FLOAT")] = None
    """with a range: how much worse than itself at the most tokens each picture may be"""
    measure: Literal["psnr", "perceptual"] = "psnr"
    """what quality is: PSNR in dB, or a perceptual distance, less of which is better"""
    target: Annotated[Literal["quality", "drop"] | None, optional("{quality,drop}", "drop")] = None
    """with --mean-tokens or --bytes: whether one drop or one quality for all meets that mean; a drop gives the \
better pictures"""
    overflow_share: Annotated[float, arg(metavar="SHARE")] = 0.0
    """let at most this share of the pictures, such as 0.05, have more tokens than the range where that reaches the \
quality; a mean is then met by one quality for all"""
    chooser: Annotated[str, arg(metavar="oracle|bisection|predictor|FOLDER")] = "bisection"
    """with a range, how budgets are chosen: by decoding at every one, at log2 of them, or by the model's predictor \
(or that of a folder), which decodes nothing, and predicts qualities better than drops"""

    def __post_init__(self) -> None:
        if self.num_tokens is not None:
            token_range(self.num_tokens, 256)
        if self.is_range and self.num_tokens not in RANGES_256:
            self.budget(256)  # its checks, before any work; of a named range they need the model
        for name, value in self._changed().items():
            if name != "num_tokens" and not self.is_range:
                raise ValueError(
                    f"{name}: got {value} without a range of tokens, expected one such as --num-tokens 8-24"
                )

    @property
    def is_range(self) -> bool:
        """Whether each picture may get another number of tokens."""
        return self.num_tokens is not None and ("-" in self.num_tokens or self.num_tokens in RANGES_256)

    def settings(self) -> dict[str, Any]:
        """What differs from the defaults, for the record."""
        changed = self._changed()
        named = changed.get("chooser", "oracle") == "oracle"
        return changed if named else changed | {"chooser": "predictor"}

    def _changed(self) -> dict[str, Any]:
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}

    def budget(self, num_latents: int) -> SoftBudget:
        """The budget, for a tokenizer of ``num_latents`` tokens."""
        own = {field.name: getattr(self, field.name) for field in fields(SoftBudget)[2:]}
        return SoftBudget(*token_range(self.num_tokens or str(num_latents), num_latents), **own)

    def encoder(self, tokenizer: ImageTokenizer, *, sizes: Sizes | None, batch_size: int) -> SoftEncoder:
        """The encoder of these options; ``sizes`` counts coded tokens, for a mean of bytes."""
        chooser = self.chooser
        if chooser not in ("oracle", "bisection"):
            own = tokenizer.model_id.rpartition("-")[0]
            chooser = QualityPredictor.from_pretrained(own if chooser == "predictor" else chooser)
        budget = self.budget(tokenizer.model.config.num_latents)
        return SoftEncoder(tokenizer, budget, chooser=chooser, sizes=sizes, batch_size=batch_size)


def calibrate_on_sample(encoder: SoftEncoder, batches: Generator[Batch, None, None]) -> None:
    """Meet the mean on a sample in which each picture is as likely as any other (reservoir sampling)."""
    draws, sample, seen = random.Random(0), list[tuple[torch.Tensor, str]](), 0
    with closing(batches):
        for batch in batches:
            for image, caption in zip(batch.images, batch.captions, strict=True):
                seen += 1
                place = len(sample) if len(sample) < _SAMPLE else draws.randrange(seen)
                if place < _SAMPLE:  # cloned: a view would keep the whole batch
                    sample[place : place + 1] = [(image.clone(), caption)]
    images, captions = torch.stack([one[0] for one in sample]), [one[1] for one in sample]
    encoder.calibrate(images, captions, keep_size=True)


def encode_batch(encoder: SoftEncoder, batch: Batch) -> tuple[Tokens, dict[str, int]]:
    """The tokens of a batch, and how many of its pictures do not reach the quality or are above the range."""
    tokens, choice = encoder.encode(batch.images, batch.captions, keys=batch.keys, keep_size=True)
    overflow = sum(length > encoder.bounds.high for length in tokens.lengths)
    return tokens, {"not_reached": int((~choice.reached).sum()), "overflow": overflow}


def threshold_facts(encoder: SoftEncoder) -> dict[str, Any]:
    """The threshold, and of the sample its pictures, mean and standard error; nothing for a fixed budget."""
    if encoder.budget.is_fixed:
        return {}
    facts: dict[str, Any] = {"threshold": encoder.goal.threshold}
    if sample := encoder.calibration:
        facts["target"] = "drop" if encoder.budget.by_drop else "quality"
        names = ("pictures", "mean", "standard_error")
        facts["sample"] = {name: getattr(sample, name) for name in names}
    return facts


def budget_lines(budget: SoftBudget, facts: Mapping[str, Any]) -> list[str]:
    """Lines for a reader: the threshold, the sample, pictures that do not reach it."""
    if budget.is_fixed:
        return []
    threshold = f"{facts['threshold']:.4g} {'dB' if budget.measure == 'psnr' else 'of distance'}"
    line = f"  drop of each picture: at most {threshold}" if budget.by_drop else f"  quality: {threshold}"
    if sample := facts.get("sample"):
        unit, error = "tokens" if budget.bytes is None else "bytes", f"{sample['standard_error']:.2g}"
        mean = f"a mean of {sample['mean']:.2f} {unit}, standard error {error}"
        line += f"; a sample of {sample['pictures']} has {mean}"
    if budget.bytes is not None:
        line += f"; in the file {facts['token_bytes_per_image']:.2f}"
    lines = [line]
    if not budget.by_drop:
        lines.append(f"  pictures that do not reach it: {facts['not_reached']}")
    if budget.overflow_share:
        lines.append(f"  pictures with more tokens than the range: {facts['overflow']}")
    return lines
