"""The process group, device and dtype of a training."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from textok.pipeline.precision import Precision, inference_dtype, keep_freed_memory

PATIENCE = timedelta(hours=12)
"""How long ranks wait for captions that others encode, pictures that they decode and weights that they fetch."""
STEP_PATIENCE = timedelta(minutes=20)
"""How long they wait for each other in a step: a rank that hangs does not hold a cluster for hours."""


def mixed_precision(precision: Precision) -> str:
    """Accelerate's word for the dtype of the forward pass."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return "bf16" if inference_dtype(device, precision) == torch.bfloat16 else "no"


def start_accelerator(precision: Precision) -> Accelerator:
    """The process group, the device and the dtype; in a step ranks wait for each other up to ``STEP_PATIENCE``."""
    keep_freed_memory()
    return Accelerator(
        mixed_precision=mixed_precision(precision),
        cpu=not torch.cuda.is_available(),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=STEP_PATIENCE)],
    )


def wait_long(accelerator: Accelerator) -> None:
    """Wait for all ranks, up to ``PATIENCE``; they meet over gloo, which has a timeout of its own."""
    if accelerator.num_processes > 1:
        dist.barrier(group=_patient_group(dist.group.WORLD))


@contextmanager
def node_first(accelerator: Accelerator) -> Iterator[None]:
    """The first rank of each machine runs the block before the others there, which find what it fetched or wrote."""
    if not accelerator.is_local_main_process:
        wait_long(accelerator)
    yield
    if accelerator.is_local_main_process:
        wait_long(accelerator)


@cache
def _patient_group(world: dist.ProcessGroup) -> Any:
    """One for each life of the process group."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)
