"""Optimizers, Muon of ours among them, and the learning-rate schedule, as functions of the step."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Adam, AdamW, Muon, Optimizer
from torch.optim.swa_utils import AveragedModel

from textok.checks import check, check_choice


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
    """One or two optimizers that together move every trainable parameter once; Muon's iteration is in ``dtype``."""
    parameters = dict(model.named_parameters())
    if config.kind == "adam":
        decay = config.weight_decay
        return [Adam(parameters.values(), lr=config.lr, betas=config.betas, weight_decay=decay, fused=True)]
    # Matrices from hidden states to hidden states inside a block, not what a condition modulates.
    hidden = [name for name in parameters if ".blocks." in f".{name}" and ".modulation." not in name]
    blocks = {name: parameters[name] for name in hidden if parameters[name].ndim == 2}
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


# --- Muon -------------------------------------------------------------------------------------------------

STEPS = (
    (8.3837, -24.7659, 18.3571),
    (4.0434, -3.0114, 0.5695),
    (3.5056, -2.6267, 0.5257),
    (2.4901, -1.8343, 0.4368),
)
"""Coefficients of x, x^3 and x^5 of each step: the four of Polar Express that bring singular values from 0.003 to 1
within 0.2 of 1 (Amsel et al. 2025, arXiv 2505.16932, algorithm 1)."""


class StackedMuon(Muon):
    """torch's Muon with the same state, whose Newton-Schulz iteration suits the machine.

    torch takes five steps in bfloat16 always, a matrix at a time. A processor that does not multiply bfloat16
    natively needs many times as long for that as for the network itself; blocks repeat a few shapes, whose products
    are cheaper in one batch; and four better steps do what five equal ones do. The iteration is in ``dtype``.
    """

    def __init__(self, params: Iterable[nn.Parameter], *, dtype: torch.dtype, **options: Any) -> None:
        super().__init__(list(params), **options)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Move every matrix that has a gradient; ``ValueError`` for a closure, which nothing here needs."""
        if closure is not None:
            raise ValueError("closure: got one, expected none")
        for group in self.param_groups:
            for matrices in same_shapes(p for p in group["params"] if p.grad is not None):
                self._move(matrices, group)

    def _move(self, matrices: list[nn.Parameter], group: dict[str, Any]) -> None:
        updates = torch.stack([self._momentum(p, group) for p in matrices]).to(self.dtype)
        directions = orthogonalized(updates, eps=group["eps"])
        rate = group["lr"] * 0.2 * max(matrices[0].shape) ** 0.5  # of AdamW's size: one rate serves both
        for parameter, direction in zip(matrices, directions, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(direction, alpha=-rate)

    def _momentum(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None  # step leaves the others out
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        return gradient.lerp(buffer, group["momentum"])


def same_shapes(parameters: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Parameters in groups of one shape, in order of first sight; sharded ones each by itself."""
    groups: dict[object, list[nn.Parameter]] = {}
    for parameter in parameters:
        key = id(parameter) if isinstance(parameter.data, DTensor) else parameter.shape
        groups.setdefault(key, []).append(parameter)
    return list(groups.values())


def orthogonalized(
    matrices: Float[Tensor, "n rows columns"], *, eps: float
) -> Float[Tensor, "n rows columns"]:
    """Each matrix with its singular values brought near 1, by quintic Newton-Schulz steps (K. Jordan, "Muon", 2024).

    The norm of the Gram matrix is a closer bound of the largest singular value than the matrix's own.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices  # the smaller square is cheaper
    gram = x @ x.mT
    norm = gram.norm(dim=(1, 2), keepdim=True).clamp(min=eps**2)
    x, gram = x * norm.rsqrt(), gram / norm
    exact = x.dtype == torch.float32 and not isinstance(x, DTensor)  # squares of bfloat16 lose too much
    if exact and x.shape[2] > 2 * x.shape[1]:
        x = _square_factor(gram) @ x
    else:
        for a, b, c in STEPS:
            gram = x @ x.mT
            x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def _square_factor(gram: Float[Tensor, "n rows rows"]) -> Float[Tensor, "n rows rows"]:
    """The same steps of a long matrix as one square factor: they only ever read its Gram matrix."""
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    factor = identity
    for a, b, c in STEPS:
        step = a * identity + b * gram + c * gram @ gram
        factor = step @ factor
        gram = step @ gram @ step
    return factor
