"""What bfloat16 is worth on this processor: the work of icons-128 in both dtypes, A B A B in one sitting.

    python benchmarks/dtype_gain.py

Run it on an otherwise idle machine; some minutes. The ratios say whether ``textok.pipeline.precision`` chooses well:
its own measurement, of one matrix product, is in the record beside them.
"""

import argparse
import statistics
from pathlib import Path

import torch

from textok.pipeline.precision import MIN_GAIN, bfloat16_gain, inference_dtype
from textok.training.run_folder import environment
from textok.writing import write_json
from tokenizer_speed import build_work, seconds

OUT = Path(__file__).resolve().parent / "results" / "dtype_gain.json"
NAMES = ("encode", "decode, 32 tokens", "train step")


def main() -> None:
    """Measure both dtypes in turn, and write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    work = {dtype: build_work(options.batch, dtype) for dtype in (torch.float32, torch.bfloat16)}
    rows = [ratio(name, work, rounds=options.rounds) for name in NAMES]
    choice = {
        "gain_of_a_product": bfloat16_gain(),
        "min_gain": MIN_GAIN,
        "chosen": str(inference_dtype("cpu")),
    }
    write_json(OUT, {"settings": vars(options), "choice": choice, "rows": rows, "made_by": environment()})
    print(choice, *rows, sep="\n")


def ratio(name: str, work: dict[torch.dtype, dict], *, rounds: int) -> dict[str, object]:
    """Seconds in float32 over seconds in bfloat16, round by round; the first round warms up."""
    pairs = [[seconds(work[dtype][name]) for dtype in work] for _ in range(rounds + 1)][1:]
    ratios = [first / second for first, second in pairs]
    return {
        "work": name,
        "float32_over_bfloat16": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "float32_seconds": statistics.median(first for first, _ in pairs),
        "bfloat16_seconds": statistics.median(second for _, second in pairs),
    }


if __name__ == "__main__":
    main()
