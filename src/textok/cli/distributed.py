"""Commands that several processes share, started by ``torchrun``, and the device of each of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from textok import display
from textok.pipeline.precision import keep_freed_memory, torch_device

PATIENCE = timedelta(hours=12)
"""The first rank alone writes samples and pages; the others wait for it at the next split."""


def place() -> tuple[int, int]:
    """Which process of ``torchrun`` this is, of how many; the only one without it."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    return (int(os.environ["RANK"]), count) if count > 1 else (0, 1)


def is_first() -> bool:
    """Whether this process prints and writes."""
    return place()[0] == 0


def note(message: str) -> None:
    """Print one line on stderr, once for all processes."""
    if is_first():
        display.note(message)


def check_single_process() -> None:
    """Check that the command was not started by ``torchrun``."""
    if (count := place()[1]) > 1:
        raise ValueError(f"processes: got {count}, expected one; start it without torchrun")


def open_device(name: str, *, float64: bool = False) -> torch.device:
    """The device that ``--device`` names, with ``float64`` where scores are computed; otherwise ``ValueError``.

    Of several processes each takes a CUDA device of its own, unless one is named, and keeps the memory it frees.
    """
    if float64 and name.startswith("mps"):
        raise ValueError(f"device: got {name!r}, which has no float64 to compute scores in; use cpu")
    device = torch_device(name)
    keep_freed_memory()
    if place()[1] > 1 and device.type == "cuda":
        if device.index is None:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    return device


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """The processes of ``torchrun`` can merge their results inside the block; nothing for a single one.

    After an error the group is left to the end of the process: the others may never come to close it.
    """
    if many := place()[1] > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    yield
    if many:
        dist.destroy_process_group()


def leave_group() -> None:
    """Close the connections of a training's ranks; one that ends with open ones may be aborted by another's end."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
