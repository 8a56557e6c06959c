"""Long work stops at the next whole step after one SIGINT or SIGTERM."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist


class StopRequest:
    """Set by SIGINT or SIGTERM: the loop saves and leaves; a second SIGINT interrupts at once.

    torchrun answers a Ctrl-C by a SIGTERM, or a SIGINT at once, to processes that got the SIGINT already: that stays
    polite. After ``hours`` it sets itself.
    """

    def __init__(self, hours: float | None) -> None:
        self._by_signal, self._repeats_until = False, 0.0
        self._end = float("inf") if hours is None else time.monotonic() + 3600 * hours

    @property
    def asked(self) -> bool:
        """Whether to stop."""
        return self._by_signal or time.monotonic() >= self._end

    def agreed(self, device: torch.device | str) -> bool:
        """Whether any rank was asked, so that all leave at the same step; all ranks call."""
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return self.asked
        flag = torch.tensor([float(self.asked)], device=device)
        dist.all_reduce(flag)
        return bool(flag.item() > 0)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._by_signal and number == signal.SIGINT and now > self._repeats_until:
            raise KeyboardInterrupt
        if not self._by_signal and "TORCHELASTIC_RUN_ID" in os.environ:
            self._repeats_until = now + 1
        self._by_signal = True


@contextmanager
def polite_stop(hours: float | None = None) -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and the end of some hours into a request to stop, inside the block.

    Outside of the main thread there are no signals.
    """
    request = StopRequest(hours)
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
