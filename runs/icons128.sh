#!/usr/bin/env bash
# From a clone to the shipped tokenizer: train, score, ship. The shipped weights took 91 minutes, on two cores with AMX;
# stop it at any time and run it again, training goes on from its last checkpoint.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
out=${OUT:-runs-out/icons-128}

# 3,800 steps of 64 pictures (16 epochs), evaluated every 1,000 steps; watch $out/grids and $out/metrics.jsonl
.venv/bin/textok train tokenizer icons-128 --out "$out"

# weights at 16 bits, scores on every test split, then the card with the scores in it
.venv/bin/python runs/release.py "$out" --to weights/icons-128-tokenizer
.venv/bin/python benchmarks/reconstruction.py --model icons-128
.venv/bin/python runs/release.py "$out" --to weights/icons-128-tokenizer
