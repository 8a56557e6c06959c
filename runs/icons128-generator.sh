#!/usr/bin/env bash
# From the shipped tokenizer to the shipped generator: cache, train, score, ship. Two cores with AMX, about two and a half
# hours; stop it at any time and run it again, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
out=${OUT:-runs-out/icons-128-dit}
latents=${LATENTS:-latents}

# Two rows a picture: with its caption, and with the bare scene of it
for split in train val; do
  .venv/bin/textok cache --data icons --split $split --caption-forms given,scene \
    --out "$latents/icons-128-$split"
done
# how likely each token is, for textok compress; the file of other weights is refused
.venv/bin/textok prior "$latents/icons-128-train" --model icons-128
.venv/bin/textok train generator icons-128-dit --latents "$latents/icons-128-train" \
  --preview.held-out "$latents/icons-128-val" --out "$out"

# weights at 16 bits, scores on test-drawing, then the card with the scores in it
release=(.venv/bin/python runs/release_generator.py "$out" --to weights/icons-128-generator)
"${release[@]}"
.venv/bin/textok evaluate generator --data datasets/icons-128 --split test-drawing \
  --train icons --train-split train --budgets 8,16,32 --guidance 1,3 \
  --out benchmarks/results/generator_icons-128.json
"${release[@]}"
