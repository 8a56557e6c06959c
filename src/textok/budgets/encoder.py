"""Encoding under a budget: each picture gets the fewest tokens, within a range, that reach a quality.

A budget of k is the first k tokens of one encoding, so a picture is encoded once, whatever it gets.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from textok.budgets import SoftBudget, search
from textok.budgets.predictor import QualityPredictor, picture_detail
from textok.objectives.quality import Measure, find_measure
from textok.pipeline.image_tokenizer import ImageTokenizer, decode_values, encode_pixels, values_of
from textok.pipeline.pictures import Picture
from textok.pipeline.text import Captions, as_captions
from textok.pipeline.tokens import Tokens
from textok.pixels import to_uint8, to_unit

Chooser = Literal["oracle", "bisection"] | QualityPredictor
"""What finds the budgets: decoding at every one, decoding at log2 of them, or a head that decodes nothing."""


class DecodedCurves:
    """Quality against tokens by decoding: every value is that of a decoded picture against its original.

    One batch of pictures is encoded once; ``batch_size`` of them are decoded at a time, those of like numbers of
    tokens together.
    """

    def __init__(
        self,
        tokenizer: ImageTokenizer,
        pixels: UInt8[Tensor, "b 3 h w"],
        captions: Sequence[str],
        *,
        measure: Measure,
        batch_size: int,
    ) -> None:
        self.model, self.measure, self.batch_size = tokenizer.model, measure, batch_size
        self.text = tokenizer.text_of(captions)
        self.encoding = encode_pixels(self.model, pixels, self.text)
        self.values = values_of(self.encoding)
        self.originals = pixels.to(self.values.device)

    def __len__(self) -> int:
        return len(self.values)

    def at(self, rows: Int[Tensor, "r"], budgets: Int[Tensor, "r"]) -> Float[Tensor, "r"]:
        """See :class:`textok.budgets.search.Curves`."""
        quality = torch.empty(len(rows), dtype=torch.float64)
        for places in budgets.argsort(stable=True).split(self.batch_size):
            if len(places):
                quality[places] = self._measured(rows[places], budgets[places]).double().cpu()
        return quality

    @torch.no_grad()
    def _measured(self, rows: Int[Tensor, "r"], budgets: Int[Tensor, "r"]) -> Float[Tensor, "r"]:
        patch, originals = self.model.config.patch_size, self.originals[rows]
        grid = (originals.shape[2] // patch, originals.shape[3] // patch)
        text = None if self.text is None else self.text[rows]
        pictures = decode_values(self.model, self.values[rows], text, grid=grid, lengths=budgets)
        return self.measure.compare(originals, to_uint8(pictures))


class SoftEncoder:
    """Encodes a stream of pictures under a budget, each picture once and in one pass.

    Examples:
        >>> encoder = SoftEncoder(tokenizer, SoftBudget(8, 24, mean_tokens=14))
        >>> encoder.calibrate(sample, sample_captions)
        >>> for pictures, captions in stream:
        ...     tokens, choice = encoder.encode(pictures, captions)

    Args:
        chooser: "oracle" decodes at every budget; "bisection" at log2 of them, and may miss the fewest tokens where
            quality is not monotone; a QualityPredictor trained for this tokenizer decodes nothing.
        sizes: the function that counts coded tokens, for a budget of bytes: ``textok.codec.coded_sizes(tokenizer.model,
            prior=prior)`` for a .ttk file by that probability model.

    Budgets are those of one picture at a time where the threshold is not within the rounding of sums of a quality
    that a picture has: in float32 1e-4 on the scale [-1, 1]. In bfloat16 a small drop is little more than that
    rounding: budgets by drop then differ with the batch for some pictures, by tokens that are worth no more than
    it. Take float32 where budgets have to repeat.

    Raises:
        ValueError: when the budget or the predictor does not fit the tokenizer, or bytes have no ``sizes``.
    """

    def __init__(
        self,
        tokenizer: ImageTokenizer,
        budget: SoftBudget,
        *,
        chooser: Chooser = "bisection",
        sizes: search.Sizes | None = None,
        batch_size: int = 32,
    ) -> None:
        most = tokenizer.model.config.num_latents
        if budget.high > most:
            raise ValueError(f"num_tokens: got {budget.high}, expected at most the model's {most}")
        if budget.bytes is not None and sizes is None:
            raise ValueError(
                "bytes: got no sizes to count by, expected sizes=textok.codec.coded_sizes(tokenizer.model)"
            )
        self.tokenizer, self.chooser, self.batch_size = tokenizer, chooser, batch_size
        self.budget, self._sizes = budget, sizes
        self.measure = find_measure(budget.measure)
        self._lower_is_better = budget.by_drop or self.measure.lower_is_better
        overflow = most if budget.overflow_share else budget.high
        self.bounds = search.Bounds(low=budget.low, high=budget.high, overflow=overflow)
        self.calibration: search.Calibration | None = None
        self._allowance = search.Allowance(budget.overflow_share)
        self._search: search.Search = search.bisection if chooser == "bisection" else search.exhaustive
        if isinstance(chooser, QualityPredictor):
            chooser.check(tokenizer_id=tokenizer.model_id, measure=budget.measure)

    @property
    def goal(self) -> search.Goal:
        """The quality to reach, or the drop to stay below; ``ValueError`` for a mean that was not calibrated."""
        fixed = self.budget.max_drop if self.budget.quality is None else self.budget.quality
        threshold = self.calibration.threshold if self.calibration else fixed
        if threshold is None:
            raise ValueError(
                "budget: got a mean of tokens or bytes, which a quality meets; call calibrate with a sample of pictures"
            )
        return search.Goal(threshold, self._lower_is_better)

    def calibrate(
        self, images: Picture | Sequence[Picture], captions: Captions = None, *, keep_size: bool = False
    ) -> search.Calibration:
        """Find the quality at which a sample has the mean budget; pictures encoded afterwards have to reach it.

        The sample is decoded at every budget within bounds, but for a predictor. ``ValueError`` when the budget is no
        mean, or the sample cannot meet it.
        """
        mean = self.budget.mean_tokens if self.budget.bytes is None else self.budget.bytes
        if mean is None:
            raise ValueError(
                "calibrate: got a budget of a quality or a drop, expected a mean of tokens or bytes"
            )
        curves, costs = self._sampled(images, captions, keep_size=keep_size)
        if costs is not None:
            self._check_bytes(costs)
        self.calibration = search.calibrate(
            curves,
            self.bounds,
            mean=mean,
            lower_is_better=self._lower_is_better,
            search=self._search,
            share=self.budget.overflow_share,
            costs=costs,
        )
        return self.calibration

    def curves(
        self, images: Picture | Sequence[Picture], captions: Captions = None, *, keep_size: bool = False
    ) -> search.KnownCurves:
        """Quality, or drop where pictures share that, at every budget within the bounds: decoded, or predicted."""
        return self._sampled(images, captions, keep_size=keep_size)[0]

    @torch.no_grad()
    def _sampled(
        self, images: Picture | Sequence[Picture], captions: Captions, *, keep_size: bool
    ) -> tuple[search.KnownCurves, search.KnownCurves | None]:
        """Curves within the bounds, and for a mean of bytes the bytes of every budget there."""
        low, high, tables, costs = self.bounds.low, self.bounds.overflow, list[Tensor](), list[Tensor]()
        pixels = self.tokenizer.pixels_of(images, keep_size=keep_size)
        for _, values, curves in self._batches(pixels, as_captions(captions, len(pixels))):
            tables.append(search.measure_all(curves, torch.arange(len(curves)), low=low, high=high))
            if self.budget.bytes is not None and self._sizes is not None:
                costs.append(self._sizes(values)[:, low - 1 : high])
        known_costs = search.KnownCurves(torch.cat(costs), first=low) if costs else None
        return search.KnownCurves(torch.cat(tables), first=low), known_costs

    def _check_bytes(self, costs: search.KnownCurves) -> None:
        low, high = self.bounds.low, self.bounds.high
        least, most = (float(costs.quality[:, budget - low].mean()) for budget in (low, high))
        if not least <= (self.budget.bytes or 0.0) <= most:
            raise ValueError(
                f"bytes: got {self.budget.bytes:g} on average, expected {least:.1f} to {most:.1f}, which the sample "
                f"takes at {low} to {high} tokens"
            )

    def resume(self, *, pictures: int, overflow: int) -> None:
        """Go on in a stream behind ``pictures`` of which ``overflow`` have more than ``high`` tokens."""
        self._allowance = search.Allowance(self.budget.overflow_share, seen=pictures, used=overflow)

    @torch.no_grad()
    def encode(
        self,
        images: Picture | Sequence[Picture],
        captions: Captions = None,
        *,
        keys: Sequence[str] | None = None,
        keep_size: bool = False,
    ) -> tuple[Tokens, search.Choice]:
        """Encode the next pictures of the stream; the arguments are those of ``ImageTokenizer.encode``.

        Returns:
            The tokens, as many of each picture as it needs, and for each its quality in the budget's measure (a
            predictor's estimate where that chose, NaN of a fixed budget) and whether that is what the budget wants:
            False for a picture that has ``high`` tokens and is still not good enough.

        Raises:
            ValueError: when the budget is a mean and was not calibrated.
        """
        if self.budget.is_fixed:
            options: dict[str, Any] = {"keys": keys, "keep_size": keep_size, "batch_size": self.batch_size}
            tokens = self.tokenizer.encode(images, captions, num_tokens=self.budget.low, **options)
            budgets = torch.tensor(tokens.lengths)
            return tokens, search.Choice(budgets, budgets * torch.nan, budgets > 0)
        goal, choices, parts = self.goal, list[search.Choice](), list[Tokens]()
        pixels = self.tokenizer.pixels_of(images, keep_size=keep_size)
        texts = as_captions(captions, len(pixels))
        names = tuple(map(str, range(len(pixels)))) if keys is None else keys
        for rows, values, curves in self._batches(pixels, texts):
            choice = search.choose(curves, goal, self.bounds, search=self._search, allowance=self._allowance)
            if isinstance(curves, search.DropCurves):  # at high nothing is lost, whatever fewer could gain
                reached = choice.reached | (choice.budgets >= self.bounds.high)
                choice = search.Choice(choice.budgets, curves.quality(choice.quality), reached)
            choices.append(choice)
            whole = self.tokenizer.tokens_of(values, pixels[rows], captions=texts[rows], keys=names[rows])
            parts.append(whole.cut(choice.budgets.tolist()))
        return Tokens.concat(parts), search.Choice.concat(choices)

    def _batches(
        self, pixels: UInt8[Tensor, "b 3 h w"], texts: Sequence[str]
    ) -> Iterator[tuple[slice, Float[Tensor, "n k c"] | Int[Tensor, "n k"], search.Curves]]:
        """The pictures of each batch, all their tokens, and their curves by whatever chooses."""
        for start in range(0, len(pixels), self.batch_size):
            rows = slice(start, start + self.batch_size)
            decoded = DecodedCurves(
                self.tokenizer, pixels[rows], texts[rows], measure=self.measure, batch_size=self.batch_size
            )
            curves: search.Curves = decoded
            if isinstance(self.chooser, QualityPredictor):
                detail = picture_detail(to_unit(pixels[rows]))
                curves = search.KnownCurves(self.chooser(decoded.encoding.latents.float().cpu(), detail))
            if self.budget.by_drop:
                curves = search.DropCurves(curves, self.bounds.high, self.measure.lower_is_better)
            yield rows, decoded.values, curves
