"""The process group, device and dtype of a training."""

from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from textok.pipeline.precision import Precision, inference_dtype

# Ranks meet for the first time when the captions of all are encoded, and the share of one can take hours longer
# than that of another; torch gives up after 10 or 30 minutes.
PATIENCE = timedelta(hours=12)


def mixed_precision(precision: Precision) -> str:
    """Accelerate's word for the dtype of the forward pass."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return "bf16" if inference_dtype(device, precision) == torch.bfloat16 else "no"


def start_accelerator(precision: Precision) -> Accelerator:
    """The process group, the device and the dtype; ranks wait for each other up to ``PATIENCE``."""
    return Accelerator(
        mixed_precision=mixed_precision(precision),
        cpu=not torch.cuda.is_available(),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
