"""How well a tokenizer reconstructs: every metric per split, caption condition and token budget.

Protocol: a picture is encoded once per caption condition to all K latents; a budget of k keeps the first k of
them; the decoder gets the same caption as the encoder. The same code runs inside training and on the command
line.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn

from textok.data.images import to_uint8, to_unit
from textok.evaluation.captioned import CAPTIONS, Caption, CaptionedPictures
from textok.evaluation.metrics.frechet import SplitStatistics
from textok.evaluation.metrics.paired import PairedMetrics
from textok.evaluation.networks import FeatureNetwork
from textok.evaluation.ranks import merge_metrics, merge_statistics
from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok

BUDGETS = (2, 4, 8, 16, 32)

TextSource = Callable[[Sequence[str]], TextCondition]
"""Captions to their token embeddings: a TextEncoder or a caption cache. "" is no caption."""

Reconstructions = dict[tuple[Caption, int], UInt8[Tensor, "n 3 h w"]]
"""uint8 pictures by caption condition and budget."""

Row = dict[str, str | int | float]
"""One flat record of a table."""


@dataclass(frozen=True, kw_only=True)
class ReconstructionScores:
    """What an evaluation found.

    Attributes:
        rows: one a caption condition and budget: split, captions, budget, count and the metrics by name.
        per_image: one a picture, caption condition and budget: split, key, captions, budget and the metrics
            that single pictures have (for bootstrap intervals).
    """

    rows: list[Row]
    per_image: list[Row]


def evaluate_reconstruction(
    model: TexTok,
    pictures: CaptionedPictures,
    *,
    text: TextSource,
    network: FeatureNetwork,
    budgets: Sequence[int] = BUDGETS,
    captions: Sequence[Caption] = CAPTIONS,
    batch_size: int = 32,
    rank: int = 0,
    world_size: int = 1,
    autocast: torch.dtype | None = None,
    progress: Callable[[int], object] | None = None,
) -> ReconstructionScores:
    """Score a tokenizer on a set of pictures.

    Args:
        model: the tokenizer (EMA weights, for training); evaluated in eval mode, left as it was found.
        pictures: the whole set, the same on every rank.
        text: turns captions into the model's text; not called for the condition "none".
        network: feature network of the perceptual and Fréchet distances, on the model's device.
        budgets: numbers of tokens, at most the model's K.
        captions: caption conditions.
        batch_size: pictures at a time.
        rank: this process; it takes every ``world_size``-th picture.
        world_size: processes of the torch.distributed job; all of them must call, all get the whole result.
        autocast: number type to run the model in by autocast; None runs it in that of its weights.
        progress: told after every batch how many pictures are done more.

    Raises:
        ValueError: when a budget is not in 1..K.
    """
    longest = model.config.num_latents
    if not budgets or not all(1 <= k <= longest for k in budgets):
        raise ValueError(
            f"budgets: got {tuple(budgets)}; expected numbers from 1 to the model's {longest} tokens"
        )
    texts = {caption: pictures.captions_under(caption) for caption in captions}
    metrics = {(caption, k): PairedMetrics.empty(network) for caption in captions for k in budgets}
    originals = SplitStatistics.empty(network.dim)
    device = next(model.parameters()).device
    with eval_mode(model):
        for indices in torch.arange(rank, len(pictures), world_size).split(batch_size):
            images = pictures.images[indices].to(device)
            features = network(images)
            originals = originals + SplitStatistics.of(features.pooled, indices)
            for caption in captions:
                condition = text_for(texts[caption], indices, text=text)
                outputs = reconstruct(model, images, condition, budgets=budgets, autocast=autocast)
                for k, output in outputs.items():
                    metrics[caption, k].update(images, output, indices=indices, original_features=features)
            if progress is not None:
                progress(len(indices))
    if world_size > 1:
        metrics = {cell: merge_metrics(found, device=device) for cell, found in metrics.items()}
        originals = merge_statistics(originals, device=device)
    return _scores(pictures, metrics, originals)


def text_for(captions: Sequence[str], indices: Int[Tensor, "b"], *, text: TextSource) -> TextCondition | None:
    """The text of the pictures at ``indices``; None, without calling ``text``, when none has a caption."""
    chosen = [captions[i] for i in indices.tolist()]
    return text(chosen) if any(chosen) else None


@torch.no_grad()
def reconstruct(
    model: TexTok,
    images: UInt8[Tensor, "b 3 h w"],
    text: TextCondition | None,
    *,
    budgets: Sequence[int],
    autocast: torch.dtype | None = None,
) -> dict[int, UInt8[Tensor, "b 3 h w"]]:
    """Encode uint8 pictures once and decode the first k tokens for every budget k, to uint8 pictures."""
    weights = next(model.parameters())
    context = torch.autocast(weights.device.type, autocast) if autocast else nullcontext()
    text = None if text is None else text.to(weights.device, weights.dtype)
    patch = model.config.patch_size
    grid = (images.shape[2] // patch, images.shape[3] // patch)
    with context:
        latents = model.encode(to_unit(images).to(weights.dtype), text).latents
        return {k: to_uint8(model.decode(latents[:, :k], text, grid=grid).float()) for k in budgets}


def reconstruct_all(
    model: TexTok,
    pictures: CaptionedPictures,
    *,
    text: TextSource,
    budgets: Sequence[int],
    captions: Sequence[Caption] = CAPTIONS,
    batch_size: int = 32,
    autocast: torch.dtype | None = None,
) -> Reconstructions:
    """The reconstructions themselves, for every caption condition and budget: few pictures, to be looked at.

    The arguments are those of :func:`evaluate_reconstruction`.
    """
    parts: dict[tuple[Caption, int], list[Tensor]] = {
        (caption, k): [] for caption in captions for k in budgets
    }
    device = next(model.parameters()).device
    with eval_mode(model):
        for caption in captions:
            texts = pictures.captions_under(caption)
            for indices in torch.arange(len(pictures)).split(batch_size):
                condition = text_for(texts, indices, text=text)
                images = pictures.images[indices].to(device)
                outputs = reconstruct(model, images, condition, budgets=budgets, autocast=autocast)
                for k, output in outputs.items():
                    parts[caption, k].append(output.cpu())
    return {cell: torch.cat(found) for cell, found in parts.items()}


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """The model in eval mode inside the block, in its former mode after it."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _scores(
    pictures: CaptionedPictures,
    metrics: dict[tuple[Caption, int], PairedMetrics],
    originals: SplitStatistics,
) -> ReconstructionScores:
    rows: list[Row] = []
    per_image: list[Row] = []
    for (caption, k), found in metrics.items():
        cell: Row = {"split": pictures.split, "captions": caption, "budget": k}
        rows.append(cell | {"count": len(pictures)} | found.compute(originals))
        for i, place in sorted((index, place) for place, index in enumerate(found.indices)):
            values = {name: column[place] for name, column in found.per_image.items()}
            per_image.append(cell | {"key": pictures.keys[i]} | values)
    return ReconstructionScores(rows=rows, per_image=per_image)
