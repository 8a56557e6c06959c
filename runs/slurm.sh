#!/usr/bin/env bash
# Trains a tokenizer by Slurm: sbatch --nodes 2 runs/slurm.sh RECIPE OUT [options of textok train tokenizer]
# OUT must be on a file system that all machines see. Before its time is over the run saves, stops and is queued again.
#SBATCH --job-name=textok
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=96
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail
recipe=$1 out=$2
shift 2
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit torchrun --nnodes "$SLURM_NNODES" --nproc-per-node "${SLURM_GPUS_ON_NODE:-8}" \
  --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$head:${PORT:-29500}" \
  -m textok.cli train tokenizer "$recipe" --out "$out" "$@" &
step=$!
trap 'scancel --signal=TERM "$SLURM_JOB_ID.0"; wait "$step"; scontrol requeue "$SLURM_JOB_ID"; exit 0' TERM
wait "$step"
