"""A step of Muon on the matrices of a recipe: torch's, always in bfloat16, against ours in the machine's number type.

    python benchmarks/muon_speed.py

Timed in turn (A B A B); random gradients, nothing else runs.
"""

import argparse
import json
import statistics
from pathlib import Path

import torch
from torch.optim import Muon

from textok.models.tokenizer import TexTok
from textok.pipeline.precision import inference_dtype
from textok.recipes.tokenizers import RECIPES
from textok.training.optimizers import StackedMuon, build_optimizers
from textok.training.run_folder import environment
from timing import seconds

OUT = Path(__file__).resolve().parent / "results" / "muon_speed.json"


def main() -> None:
    """Measure both and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", nargs="+", default=["icons-64", "icons-128"])
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    dtype = inference_dtype("cpu")
    rows = []
    for name in asked.recipes:
        theirs, ours = both(name, dtype=dtype)
        pairs = [(seconds(theirs.step), seconds(ours.step)) for _ in range(asked.rounds + 1)][1:]
        rows.append(
            {
                "recipe": name,
                "dtype": str(dtype).removeprefix("torch."),
                "torch_over_ours": statistics.median(a / b for a, b in pairs),
                "least": min(a / b for a, b in pairs),
                "most": max(a / b for a, b in pairs),
            }
        )
        print(rows[-1])
    found = {"seed": 0, "rounds": asked.rounds, "made_by": environment(), "rows": rows}
    OUT.write_text(json.dumps(found, indent=2) + "\n")


def both(recipe: str, *, dtype: torch.dtype) -> tuple[Muon, StackedMuon]:
    """The optimizer of torch and ours over the same matrices, with gradients."""
    run = RECIPES[recipe]()
    model, generator = TexTok(run.model), torch.Generator().manual_seed(0)
    ours = next(o for o in build_optimizers(model, run.optimizer, dtype=dtype) if isinstance(o, StackedMuon))
    matrices = [p for group in ours.param_groups for p in group["params"]]
    for matrix in matrices:
        matrix.grad = torch.randn(matrix.shape, generator=generator)
    return Muon(matrices, lr=1e-6, adjust_lr_fn="match_rms_adamw"), ours


if __name__ == "__main__":
    main()
