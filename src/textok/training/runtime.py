"""Loop manners that every training shares: stop politely, survive bad numbers, report means."""

import time
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from textok.pipeline.stopping import StopRequest


class NonFiniteGuard:
    """Counts steps whose loss or gradient was not finite; such a step changes no weights."""

    def __init__(self, *, limit: int) -> None:
        self.limit = limit
        self.skipped = 0

    def admits(self, health: Float[Tensor, ""]) -> bool:
        """Whether the step may be taken: ``health`` is finite when all losses and gradients are."""
        admitted = bool(torch.isfinite(health))
        self.skipped += not admitted
        return admitted

    def check(self, *, step: int, keys: list[str]) -> None:
        """Stop the run when too many steps were skipped.

        Raises:
            FloatingPointError: when more than ``limit`` steps were skipped.
        """
        if self.skipped > self.limit:
            raise FloatingPointError(
                f"step {step}: loss or gradient is not finite, as in {self.limit} steps before "
                f"(max_skipped_steps); stopped. First keys of this batch: {', '.join(keys[:8])}; all are in "
                "skipped.jsonl. Look at these pictures, or start anew with a lower optimizer.lr"
            )


class Means:
    """Running means of named scalars between two log lines; the device is read only when they are taken."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: dict[str, Tensor]) -> None:
        """Add one value for each name."""
        for name, value in values.items():
            value = value.detach().float()
            self._sums[name] = self._sums[name].to(value.device) + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self, accelerator: Accelerator) -> dict[str, float]:
        """The means since the last call, over all ranks; every rank must call, with the same names."""
        if not self._sums:
            return {}
        means = [total.to(accelerator.device) / self._counts[name] for name, total in self._sums.items()]
        values = accelerator.reduce(torch.stack(means), reduction="mean").tolist()
        means_by_name = dict(zip(self._sums, values, strict=True))
        self._sums, self._counts = {}, {}
        return means_by_name

    def state_dict(self) -> dict[str, Any]:
        """What this rank added since the last line."""
        return {
            "sums": {name: total.cpu() for name, total in self._sums.items()},
            "counts": dict(self._counts),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from saved sums."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])


class Throughput:
    """Images per second since it was last read or restarted."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what was counted, so that an evaluation does not slow the numbers down."""
        self._images, self._since = 0, time.perf_counter()

    def add(self, images: int) -> None:
        """Count images of all ranks."""
        self._images += images

    def take(self) -> float:
        """The rate; counting starts anew."""
        rate = self._images / (time.perf_counter() - self._since)
        self.restart()
        return rate


def agreed(stop: StopRequest, accelerator: Accelerator) -> bool:
    """Whether any rank was asked to stop, so that all leave at the same step."""
    if accelerator.num_processes == 1:
        return stop.asked
    flag = torch.tensor([float(stop.asked)], device=accelerator.device)
    dist.all_reduce(flag)
    return bool(flag.item() > 0)
