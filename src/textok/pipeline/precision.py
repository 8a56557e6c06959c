"""Where a model runs, and the dtype that is fastest there without a visible loss."""

import ctypes
import sys
import time
from functools import cache
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]

MIN_GAIN = 1.25
"""bfloat16 must multiply this much faster than float32: casts cost something, and the choice must not waver."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEPT_BYTES = 1 << 30
"""Freed memory up to this much at the top stays with the process, and no block below it is one of its own."""


def torch_device(name: torch.device | str) -> torch.device:
    """The device of that name; "auto" takes CUDA where there is one. ``ValueError`` for CUDA where there is none."""
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(automatic if name == "auto" else name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device: got {name!r}, expected auto, cpu, cuda, cuda:1 or mps") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: got {str(name)!r}, but there is no CUDA device here; use auto or cpu")
    return device


def keep_freed_memory() -> None:
    """Have glibc keep what a step frees for the next one; else its pages are fetched anew in every step."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(library, "mallopt"):  # other C libraries have no such setting
        library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        library.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)


def inference_dtype(device: torch.device | str, dtype: Precision | torch.dtype = "auto") -> torch.dtype:
    """bfloat16 where the hardware multiplies it faster than float32, else float32; ``ValueError`` for another dtype.

    A processor's flags do not answer that: some virtual machines offer AVX512-BF16 at half the speed of float32.
    So where the flags allow bfloat16, one product in each dtype is timed, once per process (some 30 ms). A dtype by
    name, or of torch, overrides the choice.
    """
    if dtype != "auto":
        name = str(dtype).removeprefix("torch.")
        if name not in ("float32", "bfloat16"):
            raise ValueError(f"dtype: got {dtype}, expected auto, float32 or bfloat16")
        return getattr(torch, name)
    kind = torch.device(device).type
    if kind == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        flags = torch.cpu.get_capabilities() if kind == "cpu" else {}
        fast = (flags.get("avx512_bf16") or flags.get("amx_bf16")) and bfloat16_gain() >= MIN_GAIN
    return torch.bfloat16 if fast else torch.float32


@cache
def bfloat16_gain() -> float:
    """How many times faster this processor multiplies bfloat16 matrices than float32 ones.

    Products of both kinds alternate and the best of each counts, since other work only ever makes one slower.
    """
    seconds = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    for _ in range(20):
        for dtype in seconds:
            left, right = torch.ones(256, 256, dtype=dtype), torch.ones(256, 512, dtype=dtype)
            start = time.perf_counter()
            left @ right
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - start)
    return seconds[torch.float32] / seconds[torch.bfloat16]
