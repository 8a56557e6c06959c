"""The number type that runs a trained model fastest without a visible loss."""

from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]


def inference_dtype(device: torch.device | str, precision: Precision = "auto") -> torch.dtype:
    """bfloat16 where the processor multiplies it natively, else float32.

    Without AVX512-BF16 or AMX a CPU is slower in bfloat16 than in float32, so the processor decides.

    Args:
        device: where the model will run.
        precision: "float32" or "bfloat16" overrides the choice.
    """
    if precision != "auto":
        return getattr(torch, precision)
    kind = torch.device(device).type
    if kind == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        found = torch.cpu.get_capabilities()
        fast = kind == "cpu" and bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return torch.bfloat16 if fast else torch.float32
