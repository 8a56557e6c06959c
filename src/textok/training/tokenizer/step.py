"""One training step of a tokenizer: what goes into the network."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from textok.data.samples import Batch
from textok.models.text import TextCondition
from textok.pipeline.text import CachedText
from textok.pixels import to_unit
from textok.sampling.random import seeded
from textok.training.draws import drop_rows, swap_rows
from textok.training.tokenizer.config import TokenizerRun


@dataclass(frozen=True)
class MicroBatch:
    """A part of a rank's batch: what one pass through the network needs."""

    images: Float[Tensor, "b 3 h w"]
    text: TextCondition | None
    decoder_text: TextCondition | None
    lengths: Int[Tensor, "b"] | None
    noise: torch.Generator
    share: float
    last: bool


def micro_batches(
    batch: Batch, run: TokenizerRun, text: CachedText | None, *, step: int, rank: int, device: torch.device
) -> Iterator[MicroBatch]:
    """Cut a batch to what fits, with captions dropped and budgets drawn by the step."""
    draws = seeded(run.seed, step, f"rank {rank}")
    noise_seed = seeded(run.seed, step, f"noise of rank {rank}").initial_seed()
    noise = torch.Generator(device).manual_seed(noise_seed)
    lengths = run.budgets.lengths(len(batch), most=run.model.num_latents, generator=draws)
    dropped = drop_rows(len(batch), run.caption_dropout, generator=draws)
    captions = swap_rows(batch.captions, run.wrong_caption_share, generator=draws)
    condition = None if text is None else text(captions)
    dropped_by_decoder = None
    if run.decoder_caption_dropout is not None:
        dropped_by_decoder = drop_rows(len(batch), run.decoder_caption_dropout, generator=draws)
    order = torch.arange(len(batch))
    if condition is not None:  # captions of like length together, so that little of a micro-batch is padding
        order = condition.dropped(dropped).mask.sum(dim=1).argsort(stable=True)
    for rows in order.split(run.micro_batch):
        images = to_unit(batch.images[rows].to(device))
        yield MicroBatch(
            images=images,
            text=_without(condition, dropped, rows, device),
            decoder_text=_without(condition, dropped_by_decoder, rows, device),
            lengths=None if lengths is None else lengths[rows],
            noise=noise,
            share=len(images) / len(batch),
            last=bool(rows[-1] == order[-1]),
        )


def _without(
    text: TextCondition | None,
    dropped: Bool[Tensor, "n"] | None,
    rows: Int[Tensor, "b"],
    device: torch.device,
) -> TextCondition | None:
    """Some rows of the captions, without those that are dropped; None where there is nothing to draw."""
    return None if text is None or dropped is None else text.dropped(dropped)[rows].to(device)


def total(terms: dict[str, Float[Tensor, ""]]) -> Float[Tensor, ""]:
    """The sum of named scalars."""
    return torch.stack([term.float() for term in terms.values()]).sum()
