"""The evaluation of a tokenizer: one place puts together the model, its text and the networks that score it.

Protocol: a picture is encoded once per caption condition to all K latents; a budget of k keeps the first k of
them; the decoder gets the same caption as the encoder. Training, the commands, the demo, the research scripts and
the benchmarks all evaluate here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from textok.evaluation.alignment import Semantics, TextSource, protocol
from textok.evaluation.captioned import CONDITIONS, CaptionCondition, CaptionedPictures
from textok.evaluation.networks import FeatureNetwork, Pictures
from textok.evaluation.reconstruction import (
    BUDGETS,
    Cell,
    Measurements,
    Meter,
    MetricAccumulator,
    Reconstructions,
    check_budgets,
    encoding_values,
)
from textok.evaluation.results import Scores
from textok.models.tokenizer import Encoding, TexTok
from textok.pipeline.image_tokenizer import decode_values, encode_pixels
from textok.pipeline.text import RememberedText
from textok.pixels import to_uint8

BATCH_SIZE = 16
"""Pictures at a time. Of more, glibc gives the memory of feature maps back each time and fetches its pages anew."""

MAX_REMEMBERED = 1024
"""Captions whose states are kept, for another condition and the judges: with MiniLM 60 MB, at most."""


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """A tokenizer with everything that scores it.

    Attributes:
        model: the tokenizer; evaluated in eval mode, left in the mode it was in.
        text: turns captions into the model's text; None for a tokenizer that reads none.
        network: feature network of the perceptual and Fréchet distances, on the model's device.
        semantics: the judges of captions, on the model's device, which may share the ``network``; None leaves them out.
        batch_size: pictures at a time.
        autocast: dtype to run the model in; None runs it in the dtype of its weights.
        decoding: steps and guidance of a decoder that samples, where they are not the model's own.
    """

    model: TexTok
    text: TextSource | None
    network: FeatureNetwork
    semantics: Semantics | None = None
    batch_size: int = BATCH_SIZE
    autocast: torch.dtype | None = None
    decoding: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, model: TexTok, network: FeatureNetwork, *, semantics: bool, **options: Any) -> "Evaluator":
        """Load the model's text encoder and, where asked, the judges of captions, on the model's device.

        The options are the attributes ``batch_size``, ``autocast`` and ``decoding``.
        """
        device, config = next(model.parameters()).device, model.config
        text = None
        if config.placement != "none":
            text = RememberedText(
                config.text_encoder,
                max_tokens=config.max_text_tokens,
                text_dtype=config.text_dtype,
                remember=MAX_REMEMBERED,
            )
            text.to(device, torch.float32)
        judges = Semantics.from_pretrained(network=network, text=text, device=device) if semantics else None
        return cls(model=model, text=text, network=network, semantics=judges, **options)

    @property
    def settings(self) -> dict[str, Any]:
        """What the numbers depend on besides the pictures."""
        autocast = f"{self.autocast} autocast".removeprefix("torch.")
        return {
            "task": "reconstruction",
            "model": self.model.model_id,
            "text_encoder": self.model.config.text_encoder,
            "precision": "float32" if self.autocast is None else autocast,
            **({"decoding": dict(self.decoding)} if self.decoding else {}),
            "wrong_caption": "that of the picture half the split further on, or the next that reads differently",
            "seed": "0 for the subsets of the kernel distance and the order of shuffled words",
        } | protocol(self.network, self.semantics)

    def score(
        self,
        pictures: CaptionedPictures,
        *,
        budgets: Sequence[int] = BUDGETS,
        captions: Sequence[CaptionCondition] = CONDITIONS,
        rank: int = 0,
        world_size: int = 1,
        measured: Iterable[tuple[Int[Tensor, "b"], Measurements]] | None = None,
        progress: Callable[[int], object] = lambda count: None,
    ) -> Scores:
        """Every metric of a picture set, by caption condition and budget; ``ValueError`` when a budget is not in 1..K.

        In a job of torch.distributed every rank must call with the same set; it takes every ``world_size``-th picture,
        and gets the whole result. ``measured`` are the batches with their values, where :meth:`measuring` did them
        elsewhere; ``progress`` is called after every batch with its number of pictures.
        """
        check_budgets(budgets, max_tokens=self.model.config.num_latents)
        if measured is None:
            measure = self.measuring(pictures, budgets=budgets, captions=captions)
            batches = torch.arange(rank, len(pictures), world_size).split(self.batch_size)
            measured = ((indices, measure(indices)) for indices in batches)
        metrics = MetricAccumulator(pictures, self.model, self.network, captions, budgets)
        for indices, values in measured:
            metrics.add(indices, values)
            progress(len(indices))
        if world_size > 1:
            metrics.gather()
        return metrics.scores()

    def measuring(
        self, pictures: CaptionedPictures, *, budgets: Sequence[int], captions: Sequence[CaptionCondition]
    ) -> Callable[[Int[Tensor, "b"]], Measurements]:
        """What encodes, decodes and measures the pictures at some positions of a set, in any process."""
        texts = {caption: pictures.captions_under(caption) for caption in captions}
        judge = None if self.semantics is None else self.semantics.judge(pictures.captions)
        meter = Meter(network=self.network, judge=judge)

        @eval_mode(self.model)
        def measure(indices: Int[Tensor, "b"]) -> Measurements:
            images = pictures.images[indices].to(next(self.model.parameters()).device)
            originals, values = meter.originals(images, indices)
            measurements: Measurements = {(): values}
            for caption in captions:
                own = [texts[caption][i] for i in indices.tolist()]
                encoding, decoded = self._reconstructed(images, own, budgets)
                measurements[caption,] = encoding_values(encoding)
                for k, outputs in decoded.items():
                    measurements[caption, k] = meter.reconstructions(originals, outputs)
            return measurements

        return measure

    def reconstruct(
        self,
        pictures: CaptionedPictures,
        *,
        budgets: Sequence[int] = BUDGETS,
        captions: Sequence[CaptionCondition] = CONDITIONS,
        progress: Callable[[int], object] = lambda count: None,
        **decoding: Any,
    ) -> Reconstructions:
        """The reconstructions themselves, in main memory, by caption condition and budget.

        The other arguments are those of :meth:`score`, and for a decoder that samples those of ``TexTok.decode``.
        """
        parts: dict[Cell, list[Tensor]] = {(caption, k): [] for caption in captions for k in budgets}
        with eval_mode(self.model):
            for caption in captions:
                texts = pictures.captions_under(caption)
                for first in range(0, len(pictures), self.batch_size):
                    rows = slice(first, first + self.batch_size)
                    _, decoded = self._reconstructed(pictures.images[rows], texts[rows], budgets, **decoding)
                    for k, outputs in decoded.items():
                        parts[caption, k].append(outputs.cpu())
                    progress(len(texts[rows]))
        return {cell: torch.cat(outputs) for cell, outputs in parts.items()}

    def _reconstructed(
        self, images: Pictures, captions: Sequence[str], budgets: Sequence[int], **decoding: Any
    ) -> tuple[Encoding, dict[int, Pictures]]:
        """A batch encoded with its captions, and decoded from each budget; without any, no text encoder is called."""
        text = self.text(list(captions)) if self.text is not None and any(captions) else None
        encoding = encode_pixels(self.model, images, text, autocast=self.autocast)
        patch = self.model.config.patch_size
        options = {"autocast": self.autocast, **self.decoding, **decoding}
        options["grid"] = (images.shape[2] // patch, images.shape[3] // patch)
        latents = encoding.latents
        decoded = {k: to_uint8(decode_values(self.model, latents[:, :k], text, **options)) for k in budgets}
        return encoding, decoded


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode inside the block, and in its former mode after it."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
