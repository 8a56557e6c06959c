"""One training step of a generator: what goes into the network, and its loss."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from textok.data.latents import LatentBatch
from textok.models.conditions import Condition
from textok.models.maskgit import MaskGITConfig
from textok.models.text import TextCondition
from textok.sampling import flow
from textok.sampling.masked import mask_codes, masked_loss
from textok.sampling.random import seeded
from textok.training.generator.config import GeneratorRun
from textok.training.run import drop_rows

Network = Callable[..., Tensor]


@dataclass(frozen=True)
class MicroRows:
    """A part of a rank's batch: what one pass through the network needs."""

    tokens: Tensor  # latents (b, k, c) or codes (b, k), cut to the longest budget
    condition: Condition
    lengths: Int[Tensor, "b"] | None  # None when all have k
    draws: torch.Generator  # the parts of a step draw from it in their order
    share: float  # of the rank's batch
    last: bool  # gradients are complete after it


def condition_of(batch: LatentBatch, *, kind: str) -> Condition:
    """What a generator of this kind reads of the rows."""
    if kind == "text":
        return Condition(text=TextCondition.pad(batch.text))
    if batch.labels is None:
        raise ValueError("model.condition: class, but the cache has no labels; cache a source with classes")
    return Condition(labels=batch.labels)


def micro_rows(
    batch: LatentBatch, step: int, *, run: GeneratorRun, rank: int, device: torch.device
) -> Iterator[MicroRows]:
    """Cut a batch to what fits, with conditions dropped and budgets drawn by the step."""
    draws = seeded(run.seed, step, f"rank {rank}")
    tokens = batch.latents if batch.codes is None else batch.codes
    assert tokens is not None  # a batch has one of them
    count = len(tokens)
    lengths = run.budgets.lengths(count, most=tokens.shape[1], generator=draws)
    dropped = drop_rows(count, run.condition_dropout, generator=draws)
    condition = condition_of(batch, kind=run.model.condition.kind).dropped(dropped)
    order = torch.arange(count)
    if condition.text is not None:  # captions of like length together, so that little is padding
        order = condition.text.mask.sum(dim=1).argsort(stable=True)
    for rows in order.split(run.micro_batch):
        cut, budgets = tokens[rows], None if lengths is None else lengths[rows]
        if budgets is not None:
            longest = int(budgets.max())
            cut, budgets = cut[:, :longest], None if int(budgets.min()) == longest else budgets
        yield MicroRows(
            tokens=cut.to(device),
            condition=condition[rows].to(device),
            lengths=None if budgets is None else budgets.to(device),
            draws=draws,
            share=len(rows) / count,
            last=bool(rows[-1] == order[-1]),
        )


def loss_of(network: Network, part: MicroRows, run: GeneratorRun) -> Tensor:
    """The loss of one part: a mean over its tokens."""
    if isinstance(run.model, MaskGITConfig):
        masked, is_masked = mask_codes(
            part.tokens, mask_code=run.model.num_codes, generator=part.draws, lengths=part.lengths
        )
        logits = network(masked, part.condition, lengths=part.lengths)
        return masked_loss(logits, part.tokens, is_masked)
    return denoising_loss(network, part, run.flow)


def denoising_loss(network: Network, part: MicroRows, times: flow.FlowConfig) -> Float[Tensor, ""]:
    """Squared error of the predicted velocity on a point between data and noise."""
    data = part.tokens
    noise = torch.randn(data.shape, generator=part.draws).to(data)
    time = flow.draw_times(times, len(data), generator=part.draws).to(data.device)
    noisy, target = flow.add_noise(data, noise, time), flow.velocity_target(data, noise)
    velocity = network(noisy, time, part.condition, lengths=part.lengths)
    error = (velocity - target).square().mean(dim=2)  # (b k)
    if part.lengths is None:
        return error.mean()
    present = torch.arange(error.shape[1], device=error.device)[None, :] < part.lengths[:, None]
    return ((error * present).sum(dim=1) / part.lengths).mean()  # each row counts the same
