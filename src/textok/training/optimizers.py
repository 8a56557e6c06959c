"""Optimizers and the learning-rate schedule, as functions of the step."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from textok.checks import check, check_choice
from textok.training.muon import StackedMuon


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Which optimizer, and its schedule.

    Attributes:
        kind: "muon" (orthogonalised momentum for the blocks' matrices, AdamW for the rest), "adamw", or
            "adam" with the betas of the paper's table.
        lr: peak learning rate, used as it is: never scaled by batch size.
        betas: of Adam(W).
        weight_decay: of matrices, decoupled, for muon and adamw; for adam it is added to every gradient.
        warmup_steps: linear from 0 to ``lr``.
        final_lr: share of ``lr`` that a cosine falls to by the end.
        clip_norm: gradients are scaled to at most this norm; also the discriminator's.
    """

    kind: Literal["muon", "adamw", "adam"] = "muon"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.05
    warmup_steps: int = 200
    final_lr: float = 0.02
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        check_choice(self, "optimizer", kind=("muon", "adamw", "adam"))
        check(self, "optimizer", "lr", "clip_norm", above=0)
        check(self, "optimizer", "final_lr", at_least=0, at_most=1)


def build_optimizers(
    model: nn.Module, config: OptimizerConfig, *, dtype: torch.dtype = torch.float32
) -> list[Optimizer]:
    """One or two optimizers that together move every trainable parameter once.

    Args:
        model: whose parameters.
        config: which optimizer, and its settings.
        dtype: that the training computes in; Muon's iteration does so too.
    """
    parameters = dict(model.named_parameters())
    if config.kind == "adam":
        decay = config.weight_decay
        return [Adam(parameters.values(), lr=config.lr, betas=config.betas, weight_decay=decay, fused=True)]
    blocks = {name: p for name, p in parameters.items() if p.ndim == 2 and _is_hidden(name)}
    matrices = blocks if config.kind == "muon" else {}
    rest = [(name, p) for name, p in parameters.items() if name not in matrices]
    decayed = [p for name, p in rest if p.ndim == 2 and name.endswith("weight")]
    free = [p for name, p in rest if not (p.ndim == 2 and name.endswith("weight"))]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    optimizers: list[Optimizer] = [AdamW(groups, lr=config.lr, betas=config.betas, fused=True)]
    if matrices:
        optimizers.append(
            StackedMuon(matrices.values(), dtype=dtype, lr=config.lr, weight_decay=config.weight_decay)
        )
    return optimizers


def _is_hidden(name: str) -> bool:
    """Whether a matrix maps hidden states to hidden states inside a block; not what a condition modulates."""
    return ".blocks." in f".{name}" and ".modulation." not in name


def learning_rate(config: OptimizerConfig, *, step: int, steps: int) -> float:
    """Rate of step ``step`` (from 0) of ``steps``: linear warm-up, then a cosine to ``final_lr * lr``."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.lr * (config.final_lr + (1 - config.final_lr) * cosine)


def set_learning_rate(optimizers: list[Optimizer], lr: float) -> None:
    """Give every group of every optimizer the same rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr


class Average(AveragedModel):
    """Exponential moving average of a model's weights; the first steps average over what there is.

    The count stays on the host: no step waits for the device.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        super().__init__(model)
        self.decay = decay
        self.requires_grad_(False)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move towards the weights of ``model``; other state is copied."""
        n = int(self.n_averaged)
        decay = min(self.decay, (1 + n) / (10 + n)) if n else 0.0
        averaged, current = ([p.detach() for p in module.parameters()] for module in (self.module, model))
        torch._foreach_lerp_(averaged, current, 1 - decay)
        for mine, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)
        self.n_averaged += 1
