"""Seconds of a call, on a processor by its clock and on a GPU by its events."""

import time
from collections.abc import Callable

import torch


def seconds(call: Callable[[], object], *, device: torch.device | str = "cpu", repeats: int = 1) -> float:
    """Seconds of one call, averaged over ``repeats`` of them in a row."""
    device = torch.device(device)
    if device.type == "cuda":
        return _seconds_on_gpu(call, device, repeats) / repeats
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def _seconds_on_gpu(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Of all calls: their launches return at once, so that the device notes when it begins and ends."""
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    first.record()
    for _ in range(repeats):
        call()
    last.record()
    torch.cuda.synchronize(device)
    return first.elapsed_time(last) / 1000
