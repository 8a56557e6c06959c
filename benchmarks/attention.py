"""Attention here: PyTorch's fused kernel against two matrix products, forward and forward + backward.

    python benchmarks/attention.py

decides which path ``textok.models.attention.attend`` takes on a device. Pairs are timed in turn (A B A B); the
figure is the median of the ratios, since single times drift on shared machines.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from textok.models.attention import attend_by_products
from textok.training.run_folder import environment
from timing import seconds

OUT = Path(__file__).resolve().parent / "results" / "attention.json"
# (batch, heads, sequence, channels of a head): icons-128 encoder, the same without text, TexTok-B at 256 px
SHAPES = [(64, 4, 126, 64), (64, 4, 96, 64), (1, 12, 1280, 64)]


def main() -> None:
    """Measure every shape and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9, help="A B pairs for each figure")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = [
        measure(shape, dtype=dtype, rounds=options.rounds, device=device)
        for shape in SHAPES
        for dtype in (torch.bfloat16, torch.float32)
    ]
    OUT.write_text(json.dumps({"seed": 0, "made_by": environment(), "rows": rows}, indent=2) + "\n")
    for row in rows:
        print(row)


def measure(
    shape: tuple[int, int, int, int], *, dtype: torch.dtype, rounds: int, device: str
) -> dict[str, object]:
    """Time ratios products / fused for one shape, with a bias on the keys."""
    generator = torch.Generator(device).manual_seed(0)
    q, k, v = (torch.randn(shape, generator=generator, device=device, dtype=dtype) for _ in range(3))
    bias = torch.zeros(shape[0], 1, 1, shape[2], device=device, dtype=dtype)
    bias[:, :, :, -8:] = float("-inf")

    def fused(q: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(-1, -1, shape[2], -1))

    def products(q: Tensor) -> Tensor:
        return attend_by_products(q, k, v, bias=bias)

    grad_q = q.clone().requires_grad_()
    with torch.no_grad():
        forward = ratios(lambda: products(q), lambda: fused(q), rounds=rounds, device=device)
    both = ratios(
        lambda: products(grad_q).sum().backward(),
        lambda: fused(grad_q).sum().backward(),
        rounds=rounds,
        device=device,
    )
    return {
        "shape": shape,
        "dtype": str(dtype),
        "device": device,
        "forward": forward,
        "forward_backward": both,
    }


def ratios(a: Callable[[], object], b: Callable[[], object], *, rounds: int, device: str) -> dict[str, float]:
    """Median times in ms and the median of the paired ratios a / b."""
    pairs = [[seconds(call, device=device, repeats=5) for call in (a, b)] for _ in range(rounds + 1)][1:]
    return {
        "products_ms": 1000 * statistics.median(x for x, _ in pairs),
        "fused_ms": 1000 * statistics.median(y for _, y in pairs),
        "products_over_fused": statistics.median(x / y for x, y in pairs),
    }


if __name__ == "__main__":
    main()
