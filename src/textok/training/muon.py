"""Muon in the dtype that the hardware multiplies fast, with equal shapes orthogonalised together."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Muon


class StackedMuon(Muon):
    """torch's Muon with the same state, whose Newton-Schulz iteration suits the machine.

    torch iterates in bfloat16 always, a matrix at a time. A processor that does not multiply bfloat16 natively
    needs many times as long for that as for the network itself; and blocks repeat a few shapes, whose products
    are cheaper in one batch.

    Args:
        params: matrices.
        dtype: of the iteration, such as bfloat16 where it is native.
        options: of ``torch.optim.Muon``.
    """

    def __init__(self, params: Iterable[nn.Parameter], *, dtype: torch.dtype, **options: Any) -> None:
        super().__init__(list(params), **options)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Move every matrix that has a gradient.

        Raises:
            ValueError: for a closure, which nothing here needs.
        """
        if closure is not None:
            raise ValueError("closure: got one, expected none")
        for group in self.param_groups:
            for matrices in same_shapes(p for p in group["params"] if p.grad is not None):
                self._move(matrices, group)

    def _move(self, matrices: list[nn.Parameter], group: dict[str, Any]) -> None:
        updates = torch.stack([self._momentum(p, group) for p in matrices]).to(self.dtype)
        directions = orthogonalized(
            updates, group["ns_coefficients"], steps=group["ns_steps"], eps=group["eps"]
        )
        rate = (
            group["lr"] * 0.2 * max(matrices[0].shape) ** 0.5
        )  # steps of AdamW's size: one rate serves both
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
    matrices: Float[Tensor, "n rows columns"],
    coefficients: tuple[float, float, float],
    *,
    steps: int,
    eps: float,
) -> Float[Tensor, "n rows columns"]:
    """Each matrix with its singular values brought near 1, by a quintic Newton-Schulz iteration.

    Args:
        matrices: any.
        coefficients: of x, x^3 and x^5 in the map of the singular values.
        steps: of the iteration.
        eps: least norm to divide by.

    Source: K. Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024).
    """
    a, b, c = coefficients
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices  # the smaller square is cheaper
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x
