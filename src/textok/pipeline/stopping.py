"""Long work stops at the next whole step after one SIGINT or SIGTERM."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Set by SIGINT or SIGTERM: the loop saves and leaves; a second SIGINT interrupts at once.

    torchrun answers a Ctrl-C by a SIGTERM to processes that got the SIGINT already: that stays polite.
    """

    def __init__(self) -> None:
        self.asked = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
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
