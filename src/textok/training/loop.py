"""Loop manners that every training shares: stop politely, survive bad numbers, report means."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor


class StopRequest:
    """Set by the first SIGINT or SIGTERM: the loop saves and leaves; a second one interrupts at once."""

    def __init__(self) -> None:
        self.asked = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def polite_stop() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request to stop, inside the block; a no-op outside the main thread."""
    request = StopRequest()
    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        former = {number: signal.signal(number, request._ask) for number in numbers}
    except ValueError:  # signals can be handled by the main thread only
        former = {}
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class NonFiniteGuard:
    """Counts steps whose gradient was not finite; such a step changes nothing."""

    def __init__(self, *, limit: int) -> None:
        self.limit = limit
        self.skipped = 0

    def admits(self, norm: Tensor, *, step: int, keys: list[str]) -> bool:
        """Whether the step may be taken.

        Raises:
            FloatingPointError: when more than ``limit`` steps were skipped.
        """
        if bool(torch.isfinite(norm)):
            return True
        self.skipped += 1
        if self.skipped > self.limit:
            raise FloatingPointError(
                f"step {step}: the gradient is not finite, as in {self.limit} steps before; "
                f"stopped. Keys of this batch: {', '.join(keys[:8])}... (all in skipped.jsonl). "
                "Try a lower optimizer.lr, or start from the checkpoint before"
            )
        return False


class Means:
    """Running means of named scalars between two log lines; reads the device only when asked."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: dict[str, Tensor]) -> None:
        """Add one value for each name."""
        for name, value in values.items():
            value = value.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means since the last call."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


class Clock:
    """Seconds since the last call."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        now = time.perf_counter()
        elapsed, self._last = now - self._last, now
        return elapsed


def agreed(stop: StopRequest, accelerator: Accelerator) -> bool:
    """Whether any rank was asked to stop, so that all leave at the same step."""
    if accelerator.num_processes == 1:
        return stop.asked
    flag = torch.tensor([float(stop.asked)], device=accelerator.device)
    dist.all_reduce(flag)
    return bool(flag.item() > 0)
