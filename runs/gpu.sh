#!/usr/bin/env bash
# The prepared job for a GPU that is to be had for fifteen minutes, packed by gpu_pack.py; docs/gpu.md says how to use it.
#   bash gpu.sh 1 OUT    at most 240 s: parity with the CPU, ceilings, profile, throughput, DiT-XL/2 beside ours
#   bash gpu.sh 2 OUT    at most 390 s: trains the runs of LIST (default: one tokenizer for 300 s) and packs what they leave
# OUT gets one archive of texts and records after call 1, and the parts of another after call 2; the second call needs what
# the first unpacked. With DEVICE=cpu TINY=1 it all runs at tiny sizes and without limits, which shows that it runs.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
call=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
device=${DEVICE:-cuda}
work=${GPU_WORK:-/tmp/textok-gpu}
python=${PYTHON:-python3}
mkdir -p "$work/texts-$call"
tar -xzf "$here/$call.tar.gz" -C "$work" || exit 1
[ -d "$work/code/src" ] || { echo "$work: got no code there; run call 1 first, on the same machine" >&2; exit 2; }
cd "$work/code"
export PYTHONPATH=$work/code/src:$work/site:$work/code/tests:$work/code/benchmarks PYTHONUNBUFFERED=1 PYTHONPYCACHEPREFIX=$work/bytecode
export TOKENIZERS_PARALLELISM=true HF_HUB_OFFLINE=1 XDG_CACHE_HOME=$work/cache TQDM_DISABLE=1 GPU_TESTS_DEVICE=$device
[ -n "${TINY:-}" ] || unset OMP_NUM_THREADS

block() { # NAME SECONDS COMMAND...: one that fails or takes too long loses no other
  local name=$1 limit=$2 start=$SECONDS
  shift 2
  [ -n "${TINY:-}" ] && limit=900
  timeout -k 10 "$limit" "$@" >"$work/texts-$call/$name.txt" 2>&1
  echo "$name: exit $?, $((SECONDS - start)) s" | tee -a "$work/texts-$call/blocks.txt"
  tail -n "${TAIL:-12}" "$work/texts-$call/$name.txt" | cut -c1-300
}
bench() { # NAME SECONDS KIND OPTIONS...
  block "$1" "$2" "$python" benchmarks/gpu.py "${@:3}" --device "$device" --out "$work/texts-$call/bench.jsonl"
}

if [ "$call" = 1 ]; then
  [ "$device" = cuda ] && block nvidia-smi 10 nvidia-smi
  if [ -n "${TINY:-}" ]; then
    small=(--batches 2 --calls 1 --warm-up 1)
    bench ceilings 1 ceilings --side 256
    block tests 1 "$python" -m pytest -q -o addopts=--import-mode=importlib -o timeout=0 -p no:cacheprovider ${GPU_TESTS:-tests/gpu}
    bench profile 1 profile --recipes toy "${small[@]}"
    bench sweep 1 sweep --recipes toy "${small[@]}"
  else
    bench ceilings 20 ceilings
    block tests 80 "$python" -m pytest -q -o addopts=--import-mode=importlib -o timeout=0 -p no:cacheprovider ${GPU_TESTS:-tests/gpu}
    bench profile 25 profile --recipes "${RECIPE:-scenes-128}" icons-128 --batches 256
    bench sweep 35 sweep --recipes "${RECIPE:-scenes-128}" icons-128 scenes-64-flow --batches 64 256 1024
    bench imagenet 20 sweep --recipes imagenet-256-b-128 --batches 32 --calls 5
    bench compiled 20 sweep --compile --recipes "${RECIPE:-scenes-128}" --batches 256
    bench compare 35 compare --batches 1 8 64 --calls 5 --warm-up 2
  fi
  tar -czf "$out/results-1.tar.gz" -C "$work" texts-1
else
  list=$here/${LIST:-default.txt}
  block train "${CALL_SECONDS:-385}" "$python" runs/gpu_train.py "$list" --out "$work/trained" \
    --seconds "${TRAIN_SECONDS:-310}" --jobs "${JOBS:-1}" --workers "${WORKERS:-16}" \
    --pack "$work/trained.tar" --pack-mb "${PACK_MB:-100}"
  cp "$work"/trained/*.log "$work/texts-$call/" 2>/dev/null
  for log in "$work"/trained/*.log; do tail -n 3 "$log" | tr '\r' '\n' | tail -n 3 | cut -c1-300; done
  tar -czf "$out/results-2.tar.gz" -C "$work" texts-2
  [ -f "$work/trained.tar" ] && split -b 15m -d "$work/trained.tar" "$out/trained.tar."
fi
ls -l "$out"
