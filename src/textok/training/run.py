"""The settings that every training run has, and what its steps draw at random.

What a step draws is a pure function of seed, step and rank, with no state to save.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from textok.checks import check, check_choice
from textok.training.optimizers import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class BudgetDraw:
    """How many latents a training picture keeps (nested dropout, Rippel et al. 2014, arXiv 1402.0915).

    Attributes:
        kind: "fixed" keeps ``length`` always; "uniform" draws 1..K; "log_uniform" draws 2^u with u uniform on
            [0, log2 K], rounded; "powers" draws among the powers of two up to K.
        full_share: share of draws that keep all K, whatever the kind.
        empty_share: share of draws that keep none, so that the decoder has the caption alone and learns to read it;
            latents are quicker to learn, and captions beside them are ignored for long.
        per_sample: every picture draws its own length; else the batch shares one (cheaper: the tail is cut).
        length: of "fixed"; default all K.
    """

    kind: Literal["fixed", "uniform", "log_uniform", "powers"] = "log_uniform"
    full_share: float = 0.25
    empty_share: float = 0.0
    per_sample: bool = True
    length: int | None = None

    def __post_init__(self) -> None:
        check_choice(self, "budgets", kind=("fixed", "uniform", "log_uniform", "powers"))
        check(self, "budgets", "full_share", "empty_share", at_least=0, at_most=1)
        if self.length is not None and (self.kind != "fixed" or self.length < 1):
            raise ValueError(
                f"budgets.length: got {self.length} with {self.kind}, expected 1 or more with fixed"
            )

    def lengths(self, batch: int, *, most: int, generator: torch.Generator) -> Int[Tensor, "b"] | None:
        """A length in 0..``most`` for each row, 0 only by ``empty_share``; None when all rows keep everything."""
        lengths = self._kept(batch, most=most, generator=generator)
        if not self.empty_share:
            return lengths
        empty = torch.rand(batch, generator=generator) < self.empty_share
        return torch.full((batch,), most).where(~empty, 0) if lengths is None else lengths.where(~empty, 0)

    def _kept(self, batch: int, *, most: int, generator: torch.Generator) -> Int[Tensor, "b"] | None:
        if self.kind == "fixed" or most == 1:
            return None if self.length is None else torch.full((batch,), min(self.length, most))
        count = batch if self.per_sample else 1
        u = torch.rand(count, generator=generator)
        drawn = self._quantile(u, most).clamp(1, most)
        full = torch.rand(count, generator=generator) < self.full_share
        return torch.where(full, most, drawn).expand(batch).contiguous()

    def _quantile(self, u: Tensor, most: int) -> Tensor:
        """The drawn length at quantile ``u`` of [0, 1)."""
        if self.kind == "uniform":
            return (u * most).long() + 1
        bits = torch.log2(torch.tensor(float(most)))
        if self.kind == "powers":
            return 2 ** (u * (int(bits) + 1)).long()
        return (2 ** (u * bits)).round().long()


@dataclass(frozen=True, kw_only=True)
class Run:
    """Settings shared by tokenizer and generator runs.

    Attributes:
        name: of the trained weights.
        optimizer, budgets: see their classes.
        steps: optimizer steps of the whole run; the schedule depends on it.
        batch_size: samples per step over all ranks and micro-batches.
        micro_batch: most samples that a rank takes through the network at once; more are accumulated.
        seed: of every random choice.
        ema_decay: of the averaged weights, which are evaluated and exported.
        precision: "auto" trains in bfloat16 where the hardware multiplies it natively.
        activation_checkpointing: recompute activations in the backward pass; saves memory, costs a third.
        compile: run the blocks through torch.compile, one compilation for all equal blocks; takes a minute or more at
            the start, and a C++ compiler on a CPU.
        prepare_ahead: steps whose input a thread prepares ahead; None is 2 on a GPU and 0 on a CPU.
        log_every, checkpoint_every: in steps.
        trackers: services that get the numbers too, by accelerate: wandb, mlflow, clearml and others.
        max_skipped_steps: the run stops when more steps than this had a loss or gradient that was not finite.
    """

    name: str
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    budgets: BudgetDraw = field(default_factory=BudgetDraw)
    steps: int = 10_000
    batch_size: int = 64
    micro_batch: int = 64
    seed: int = 0
    ema_decay: float = 0.999
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    activation_checkpointing: bool = False
    compile: bool = False
    prepare_ahead: int | None = None
    log_every: int = 20
    checkpoint_every: int = 500
    trackers: tuple[str, ...] = ()
    max_skipped_steps: int = 20

    def steps_ahead(self, device: torch.device) -> int:
        """How many steps ahead the input is prepared on this device."""
        return (2 if device.type == "cuda" else 0) if self.prepare_ahead is None else self.prepare_ahead

    def __post_init__(self) -> None:
        check(self, "", "steps", "batch_size", "micro_batch", "log_every", "checkpoint_every", at_least=1)
        if self.prepare_ahead is not None:
            check(self, "", "prepare_ahead", at_least=0)
        check(self, "", "ema_decay", at_least=0, below=1)


def drop_rows(batch: int, share: float, *, generator: torch.Generator) -> Bool[Tensor, "b"]:
    """Rows whose caption is dropped, each with probability ``share``."""
    return torch.rand(batch, generator=generator) < share


def swap_rows(captions: list[str], share: float, *, generator: torch.Generator) -> list[str]:
    """The captions, each with probability ``share`` replaced by that of the next row (the last by the first).

    Nothing is drawn when ``share`` is 0.
    """
    if not share:
        return captions
    swapped = drop_rows(len(captions), share, generator=generator).tolist()
    others = captions[1:] + captions[:1]
    return [
        other if swap else caption for caption, other, swap in zip(captions, others, swapped, strict=True)
    ]
