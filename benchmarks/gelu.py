"""GELU on this machine: the tanh approximation against the exact (erf) form, which the blocks use.

    python benchmarks/gelu.py

Timed in turn (A B A B) on the hidden activations of a training batch of icons-128.
"""

import json
import statistics
from pathlib import Path

import torch
import torch.nn.functional as F

from textok.training.run_folder import environment
from timing import seconds

OUT = Path(__file__).resolve().parent / "results" / "gelu.json"
SHAPE, ROUNDS, REPEATS = (64 * 120, 1024), 15, 5


def main() -> None:
    """Measure both forms and write the results."""
    rows = []
    for dtype in (torch.bfloat16, torch.float32):
        x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).to(dtype)
        pairs = [(milliseconds(x, form="tanh"), milliseconds(x, form="none")) for _ in range(ROUNDS + 1)][1:]
        rows.append(
            {
                "dtype": str(dtype),
                "tanh_ms": statistics.median(a for a, _ in pairs),
                "erf_ms": statistics.median(b for _, b in pairs),
                "tanh_over_erf": statistics.median(a / b for a, b in pairs),
            }
        )
        print(rows[-1])
    OUT.write_text(
        json.dumps({"seed": 0, "shape": SHAPE, "made_by": environment(), "rows": rows}, indent=2) + "\n"
    )


def milliseconds(x: torch.Tensor, *, form: str) -> float:
    """Milliseconds of one call, averaged over a few."""
    return 1000 * seconds(lambda: F.gelu(x, approximate=form), repeats=REPEATS)


if __name__ == "__main__":
    main()
