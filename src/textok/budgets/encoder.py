"""Soft budgets: each picture gets the fewest tokens, within a range, that reach a quality.

A budget of k is the first k tokens of one encoding, so a picture is encoded once, whatever it gets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from textok.budgets.budget import RANGES_256, SoftBudget, named_range
from textok.budgets.curves import DecodedCurves
from textok.budgets.predictor import QualityPredictor, picture_detail
from textok.budgets.search import (
    Allowance,
    Bounds,
    Calibration,
    Curves,
    Goal,
    KnownCurves,
    LossCurves,
    Search,
    Sizes,
    bisection,
    calibrate,
    choose,
    exhaustive,
    measure_all,
)
from textok.objectives.quality import find_measure
from textok.pipeline.image_tokenizer import (
    Captions,
    ImageTokenizer,
    as_captions,
    values_of,
)
from textok.pipeline.pictures import Picture, as_pictures
from textok.pipeline.soft_tokens import SoftTokens, decode_soft
from textok.pixels import to_unit

Chooser = Literal["oracle", "bisection"] | QualityPredictor
"""What finds the budgets: decoding at every one, decoding at log2 of them, or a head that decodes nothing."""

__all__ = [
    "RANGES_256",
    "Chooser",
    "Sizes",
    "SoftBudget",
    "SoftEncoder",
    "SoftTokens",
    "decode_soft",
    "encode_soft",
    "named_range",
]

CALIBRATION_PICTURES = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class _Encoded:
    """A batch: its tokens, and its curves by whatever chooses."""

    values: Float[Tensor, "b k c"] | Int[Tensor, "b k"]
    curves: Curves
    grid: tuple[int, int]


class SoftEncoder:
    """Encodes a stream of pictures under a soft budget, each picture once and in one pass.

    >>> encoder = SoftEncoder(tokenizer, SoftBudget(8, 24, mean_tokens=14))
    >>> encoder.calibrate(sample, sample_captions)
    >>> for pictures, captions in stream:
    ...     tokens = encoder.encode(pictures, captions)

    Args:
        tokenizer: encodes and decodes.
        budget: what each picture may have.
        chooser: "oracle" decodes at every budget; "bisection" at log2 of them, and may miss the fewest tokens where
            quality is not monotone; a QualityPredictor made for this tokenizer decodes nothing.
        sizes: for a budget of bytes: what measures coded tokens, ``textok.codec.coded_sizes(tokenizer.model,
            prior=prior)`` for a .ttk file by that probability model.
        batch_size: pictures at a time.

    Budgets are those of one picture at a time where the quality that is asked for is not within the rounding of
    sums of one that a picture has: in float32 1e-4 on the scale [-1, 1]. In bfloat16 a small loss is about little more
    than that rounding: budgets found by loss then differ with the batch for some pictures, by tokens that are worth
    no more than it. Take float32 where budgets have to repeat.

    Raises:
        ValueError: when the budget or the predictor does not fit the tokenizer, or bytes have no ``sizes``.
    """

    def __init__(
        self,
        tokenizer: ImageTokenizer,
        budget: SoftBudget,
        *,
        chooser: Chooser = "bisection",
        sizes: Sizes | None = None,
        batch_size: int = 32,
    ) -> None:
        if budget.high > (longest := tokenizer.model.config.num_latents):
            raise ValueError(
                f"budget: got up to {budget.high} tokens; expected at most the model's {longest}"
            )
        if budget.bytes is not None and sizes is None:
            raise ValueError(
                "bytes: expected what measures coded tokens; pass sizes=textok.codec.coded_sizes(tokenizer.model)"
            )
        self.tokenizer, self.chooser, self.batch_size = tokenizer, chooser, batch_size
        self.budget, self._sizes = budget, sizes
        self.measure = find_measure(budget.measure)
        self.bounds = Bounds(
            low=budget.low, high=budget.high, beyond=budget.high if budget.strict else longest
        )
        self.calibration: Calibration | None = None
        self._allowance = Allowance(budget.share_beyond)
        self._search: Search = bisection if chooser == "bisection" else exhaustive
        if isinstance(chooser, QualityPredictor):
            chooser.check(tokenizer_id=tokenizer.model_id, measure=budget.measure)

    @property
    def goal(self) -> Goal:
        """The quality that every picture is to reach, or the loss that it may have.

        Raises:
            ValueError: when the budget is a mean and was not calibrated yet.
        """
        asked = self.budget.loss if self.budget.quality is None else self.budget.quality
        threshold = self.calibration.threshold if self.calibration else asked
        if threshold is None:
            raise ValueError(
                "budget: a mean of tokens or bytes is met by a quality; call calibrate with a sample of pictures"
            )
        return Goal(threshold, self._lower_is_better)

    @property
    def _lower_is_better(self) -> bool:
        return self.budget.by_loss or self.measure.lower_is_better

    def calibrate(
        self, images: Picture | Sequence[Picture], captions: Captions = None, *, keep_size: bool = False
    ) -> Calibration:
        """Find the quality at which a sample has the mean budget; pictures encoded afterwards have to reach it.

        The sample is decoded at every budget within bounds, but for a predictor. The arguments are those of
        ``encode``.

        Raises:
            ValueError: when the budget names a quality or a loss, there are fewer than two pictures, or they have
                no mean of so many bytes within the range of tokens.
        """
        mean = self.budget.mean_tokens if self.budget.bytes is None else self.budget.bytes
        if mean is None:
            raise ValueError("budget: got a quality or a loss; only a mean of tokens or bytes is calibrated")
        curves, costs = self._sampled(images, captions, keep_size=keep_size)
        if costs is not None:
            self._check_bytes(costs)
        self.calibration = calibrate(
            curves,
            self.bounds,
            mean=mean,
            lower_is_better=self._lower_is_better,
            search=self._search,
            share=self.budget.share_beyond,
            costs=costs,
        )
        return self.calibration

    def curves(
        self, images: Picture | Sequence[Picture], captions: Captions = None, *, keep_size: bool = False
    ) -> KnownCurves:
        """Quality, or loss where pictures share that, at every budget within the bounds: decoded, or predicted."""
        return self._sampled(images, captions, keep_size=keep_size)[0]

    @torch.no_grad()
    def _sampled(
        self, images: Picture | Sequence[Picture], captions: Captions, *, keep_size: bool
    ) -> tuple[KnownCurves, KnownCurves | None]:
        """Curves within the bounds, and where bytes are asked for the bytes of every budget there."""
        low, high, tables, costs = self.bounds.low, self.bounds.beyond, list[Tensor](), list[Tensor]()
        for batch in self._batches(images, captions, keep_size=keep_size):
            rows = torch.arange(len(batch.curves))
            tables.append(measure_all(batch.curves, rows, low=low, high=high))
            if self.budget.bytes is not None and self._sizes is not None:
                costs.append(self._sizes(batch.values)[:, low - 1 : high])
        return KnownCurves(torch.cat(tables), first=low), KnownCurves(
            torch.cat(costs), low
        ) if costs else None

    def _check_bytes(self, costs: KnownCurves) -> None:
        low, high = self.bounds.low, self.bounds.high
        least, most = (float(costs.quality[:, budget - low].mean()) for budget in (low, high))
        if not least <= (self.budget.bytes or 0.0) <= most:
            raise ValueError(
                f"bytes: got {self.budget.bytes:g} on average; expected {least:.1f} to {most:.1f}, which the sample "
                f"takes at {low} to {high} tokens"
            )

    @torch.no_grad()
    def encode(
        self, images: Picture | Sequence[Picture], captions: Captions = None, *, keep_size: bool = False
    ) -> list[SoftTokens]:
        """Encode the next pictures of the stream.

        Args:
            images: as for ``ImageTokenizer.encode``.
            captions: as there.
            keep_size: as there.

        Raises:
            ValueError: when the budget is a mean and was not calibrated.
        """
        goal, tokens = self.goal, []
        for batch in self._batches(images, captions, keep_size=keep_size):
            choice = choose(batch.curves, goal, self.bounds, search=self._search, allowance=self._allowance)
            curves, quality, reached = batch.curves, choice.quality, choice.reached
            if isinstance(curves, LossCurves):  # at high nothing is lost, whatever fewer tokens could gain
                quality, reached = curves.quality(quality), reached | (choice.budgets >= self.bounds.high)
            columns = (choice.budgets.tolist(), quality.tolist(), reached.tolist())
            for values, budget, found, good in zip(batch.values.cpu(), *columns, strict=True):
                tokens.append(
                    SoftTokens(
                        values=values[:budget].clone(),
                        budget=budget,
                        quality=found,
                        reached=good,
                        grid=batch.grid,
                        model_id=self.tokenizer.model_id,
                    )
                )
        return tokens

    def _batches(
        self, images: Picture | Sequence[Picture], captions: Captions, *, keep_size: bool
    ) -> Iterator[_Encoded]:
        side = self.tokenizer.model.config.image_size
        pixels = as_pictures(images, size=None if keep_size else (side, side))
        texts = as_captions(captions, len(pixels))
        for start in range(0, len(pixels), self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield self._encoded(pixels[rows], texts[rows])

    def _encoded(self, pixels: UInt8[Tensor, "b 3 h w"], captions: Sequence[str]) -> _Encoded:
        text, patch = self.tokenizer.text_of(captions), self.tokenizer.model.config.patch_size
        encoding = self.tokenizer.encode_pixels(pixels, text)
        values = values_of(encoding)
        curves: Curves = (
            KnownCurves(self.chooser(encoding.latents.float().cpu(), picture_detail(to_unit(pixels))))
            if isinstance(self.chooser, QualityPredictor)
            else DecodedCurves(
                tokenizer=self.tokenizer,
                values=values,
                text=text,
                originals=pixels.to(values.device),
                measure=self.measure,
                batch_size=self.batch_size,
            )
        )
        if self.budget.by_loss:
            curves = LossCurves.against(
                curves, self.bounds.high, lower_is_better=self.measure.lower_is_better
            )
        return _Encoded(
            values=values, curves=curves, grid=(pixels.shape[2] // patch, pixels.shape[3] // patch)
        )


def encode_soft(
    tokenizer: ImageTokenizer,
    images: Picture | Sequence[Picture],
    captions: Captions = None,
    *,
    budget: SoftBudget,
    chooser: Chooser = "bisection",
    sizes: Sizes | None = None,
    keep_size: bool = False,
    batch_size: int = 32,
) -> list[SoftTokens]:
    """Encode pictures under a soft budget; a mean is calibrated on these very pictures.

    At most ``CALIBRATION_PICTURES`` of them, evenly spread, are looked at for that. For a stream, use a
    :class:`SoftEncoder`; the arguments are its and those of its ``encode``.
    """
    encoder = SoftEncoder(tokenizer, budget, chooser=chooser, sizes=sizes, batch_size=batch_size)
    side = tokenizer.model.config.image_size
    pixels = as_pictures(images, size=None if keep_size else (side, side))
    texts = as_captions(captions, len(pixels))
    if budget.quality is None and budget.loss is None:
        count = min(len(pixels), CALIBRATION_PICTURES)
        places = [(2 * i + 1) * len(pixels) // (2 * count) for i in range(count)]
        encoder.calibrate(pixels[places], [texts[i] for i in places], keep_size=True)
    return encoder.encode(pixels, texts, keep_size=True)
