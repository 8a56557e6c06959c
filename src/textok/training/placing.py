"""Where a generator's weights live: whole on every rank (DDP), or spread over the ranks (FSDP2)."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Placing(Protocol):
    """What a training loop asks of the placing."""

    network: Callable[..., Tensor]

    def hold(self) -> AbstractContextManager[Any]:
        """Inside, gradients are not exchanged: more micro-batches follow."""
        ...

    def clip(self, norm: float) -> Tensor:
        """Scale gradients to at most ``norm``; returns what it was, the same on all ranks."""
        ...

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """Whole weights; all ranks call, rank 0 gets them."""
        ...

    def load_weights(self, model: nn.Module, state: dict[str, Tensor]) -> None:
        """Put whole weights into a placed model."""
        ...

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Whole optimizer state; all ranks call, rank 0 gets it."""
        ...

    def load_optimizer(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        """Put it back."""
        ...


class Replicated:
    """Every rank has all weights; gradients are averaged by DDP, which accelerate puts in place."""

    def __init__(self, model: nn.Module, accelerator: Accelerator) -> None:
        self.model, self.accelerator = model, accelerator
        self.network = accelerator.prepare(model)

    def hold(self) -> AbstractContextManager[Any]:
        return self.accelerator.no_sync(self.network)

    def clip(self, norm: float) -> Tensor:
        return torch.as_tensor(self.accelerator.clip_grad_norm_(self.model.parameters(), norm))

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        return model.state_dict()

    def load_weights(self, model: nn.Module, state: dict[str, Tensor]) -> None:
        model.load_state_dict(state)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return optimizer.state_dict()

    def load_optimizer(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        optimizer.load_state_dict(state)


class Sharded:
    """Every rank has a part of every block's weights, gathered when the block runs."""

    def __init__(self, model: nn.Module, ema: nn.Module, accelerator: Accelerator) -> None:
        self.model, self.accelerator = model, accelerator
        for module in (model, ema):
            for block in module.get_submodule("blocks"):
                fully_shard(block)
            fully_shard(module)

    def network(self, *inputs: Any, **named: Any) -> Tensor:
        with self.accelerator.autocast():
            return self.model(*inputs, **named)

    def hold(self) -> AbstractContextManager[Any]:
        assert isinstance(self.model, FSDPModule)
        self.model.set_requires_gradient_sync(False)
        return _then(lambda: self.model.set_requires_gradient_sync(True))

    def clip(self, norm: float) -> Tensor:
        found = torch.nn.utils.clip_grad_norm_(self.model.parameters(), norm)
        return found.full_tensor() if isinstance(found, DTensor) else found

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        return get_model_state_dict(model, options=WHOLE)

    def load_weights(self, model: nn.Module, state: dict[str, Tensor]) -> None:
        set_model_state_dict(model, state, options=WHOLE)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return get_optimizer_state_dict(self.model, optimizer, options=WHOLE)

    def load_optimizer(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        set_optimizer_state_dict(self.model, optimizer, state, options=WHOLE)
