"""Commands that several processes share: ``torchrun`` says which of them this one is."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from textok.cli.choices import torch_device

if TYPE_CHECKING:
    import torch

# The first rank alone writes samples and pages; the others wait for it at the next split.
PATIENCE = timedelta(hours=12)


class Place(NamedTuple):
    """Which of how many processes."""

    rank: int
    count: int


def place() -> Place:
    """This process among those of ``torchrun``; the only one without it."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    return Place(int(os.environ["RANK"]), count) if count > 1 else Place(0, 1)


def is_first() -> bool:
    """Whether this process prints and writes."""
    return place().rank == 0


def note(message: str) -> None:
    """Tell the user something on stderr, once for all processes."""
    if is_first():
        print(f"textok: {message}", file=sys.stderr)


def rank_device(name: str) -> "torch.device":
    """The device of that name; of several processes each takes its own CUDA device, unless one is named.

    Raises:
        ValueError: for another word, or CUDA where there is none.
    """
    import torch

    device = torch_device(name)
    if place().count > 1 and device.type == "cuda":
        if device.index is None:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    return device


def scoring_device(name: str) -> "torch.device":
    """The device of that name, for commands that score pictures.

    Raises:
        ValueError: for another word, CUDA where there is none, or a device without float64, in which scores are
            computed.
    """
    if name.startswith("mps"):
        raise ValueError(f"device: got {name!r}; scores are computed in float64, which it has not; use cpu")
    return rank_device(name)


@contextmanager
def process_group(device: "torch.device") -> Iterator[None]:
    """The processes of ``torchrun`` can merge what they found inside the block; nothing for a single one.

    After an error the group is left to the end of the process: the others may never come to close it.
    """
    if place().count == 1:
        yield
        return
    import torch.distributed as dist

    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    yield
    dist.destroy_process_group()
