"""The settings that every training run has."""

from dataclasses import dataclass, field
from typing import Literal

import torch

from textok.checks import check
from textok.training.draws import BudgetDraw
from textok.training.optimizers import OptimizerConfig


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
