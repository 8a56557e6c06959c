#!/usr/bin/env bash
# From a clone to the shipped tokenizer: train, go on at a lower rate, score, ship. Two cores with AMX, about two hours;
# stop it at any time and run it again, training goes on from its last checkpoint.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
out=${OUT:-runs-out/icons-128}

# 3,800 steps of 64 pictures (16 epochs), evaluated every 1,000 steps; watch $out/grids and $out/metrics.jsonl
.venv/bin/textok train tokenizer icons-128 --out "$out"

# 600 more from those weights, with the rate raised to a third and brought down again
.venv/bin/textok train tokenizer icons-128 --out "$out-finish" --init-from "$out/weights" --steps 600 \
  --optimizer.lr 3e-4 --optimizer.warmup-steps 50 --validation.every 200

# weights at 16 bits, scores on every test split, then the card with the scores in it
release=(.venv/bin/python runs/release.py "$out-finish" --earlier "$out" --to weights/icons-128-tokenizer)
"${release[@]}"
.venv/bin/python benchmarks/reconstruction.py --model icons-128
"${release[@]}"
