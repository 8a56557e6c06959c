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
from jaxtyping import Int, UInt8
from torch import Tensor, nn

from textok.evaluation.alignment import Semantics, TextSource, protocol
from textok.evaluation.captioned import CONDITIONS, CaptionCondition, CaptionedPictures
from textok.evaluation.networks import FeatureNetwork
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
from textok.models.text import TextCondition
from textok.models.tokenizer import Encoding, TexTok
from textok.pipeline.passes import decode_values, encode_pixels
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
        semantics: judges whether pictures fit their captions, on the model's device; None leaves those metrics out.
            Where the ``network`` is theirs too, it runs once.
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
    def load(
        cls,
        model: TexTok,
        network: FeatureNetwork,
        *,
        semantics: bool,
        **options: Any,
    ) -> "Evaluator":
        """Load the model's text encoder and, where asked, the judges of captions, on the model's device.

        The options are the attributes ``batch_size``, ``autocast`` and ``decoding``.
        """
        device, config = _device(model), model.config
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

        Args:
            pictures: the whole set, the same on every rank.
            budgets: numbers of tokens, at most the model's K.
            captions: caption conditions.
            rank: this process; it takes every ``world_size``-th picture.
            world_size: processes of the torch.distributed job; all of them must call, all get the whole result.
            measured: the batches with their values, where :meth:`measuring` did them elsewhere.
            progress: is called after every batch with its number of pictures.
        """
        model = self.model
        check_budgets(budgets, max_tokens=model.config.num_latents)
        if measured is None:
            measure = self.measuring(pictures, budgets=budgets, captions=captions)
            batches = torch.arange(rank, len(pictures), world_size).split(self.batch_size)
            measured = ((indices, measure(indices)) for indices in batches)
        metrics = MetricAccumulator(
            self.network,
            count=len(pictures),
            captions=captions,
            budgets=budgets,
            latent_dim=model.config.latent_dim,
            num_codes=model.num_codes,
        )
        for indices, values in measured:
            metrics.add(indices, values)
            progress(len(indices))
        if world_size > 1:
            metrics.gather()
        return metrics.scores(pictures)

    def measuring(
        self, pictures: CaptionedPictures, *, budgets: Sequence[int], captions: Sequence[CaptionCondition]
    ) -> Callable[[Int[Tensor, "b"]], Measurements]:
        """What encodes, decodes and measures the pictures at some positions of a set, in any process."""
        texts = {caption: pictures.captions_under(caption) for caption in captions}
        judge = None if self.semantics is None else self.semantics.judge(pictures.captions)
        meter = Meter(network=self.network, judge=judge)

        @eval_mode(self.model)
        def measure(indices: Int[Tensor, "b"]) -> Measurements:
            images = pictures.images[indices].to(_device(self.model))
            originals, values = meter.originals(images, indices)
            measurements: Measurements = {(): values}
            for caption in captions:
                text = self._text_for(texts[caption], indices)
                encoding = encode_pixels(self.model, images, text, autocast=self.autocast)
                measurements[caption,] = encoding_values(encoding)
                for k in budgets:
                    decoded = self._decode(encoding, text, budget=k, size=images.shape[-2:])
                    measurements[caption, k] = meter.reconstructions(originals, decoded)
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
                for indices in torch.arange(len(pictures)).split(self.batch_size):
                    text, images = self._text_for(texts, indices), pictures.images[indices]
                    encoding = encode_pixels(self.model, images, text, autocast=self.autocast)
                    for k in budgets:
                        parts[caption, k].append(
                            self._decode(encoding, text, budget=k, size=images.shape[-2:], **decoding).cpu()
                        )
                    progress(len(indices))
        return {cell: torch.cat(outputs) for cell, outputs in parts.items()}

    def _text_for(self, captions: Sequence[str], indices: Int[Tensor, "b"]) -> TextCondition | None:
        """The text of the pictures at ``indices``; None, without calling the encoder, when none has a caption."""
        texts = [captions[i] for i in indices.tolist()]
        return self.text(texts) if self.text is not None and any(texts) else None

    def _decode(
        self,
        encoding: Encoding,
        text: TextCondition | None,
        *,
        budget: int,
        size: torch.Size,
        **decoding: Any,
    ) -> UInt8[Tensor, "b 3 h w"]:
        patch, latents = self.model.config.patch_size, encoding.latents[:, :budget]
        grid, options = (size[0] // patch, size[1] // patch), {**self.decoding, **decoding}
        return to_uint8(
            decode_values(self.model, latents, text, grid=grid, autocast=self.autocast, **options)
        )


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode inside the block, and in its former mode after it."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
