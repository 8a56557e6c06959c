"""What each of two processes runs: generator runs, all but some stopped on the way. Started by torchrun."""

import os
import pickle
import sys
from pathlib import Path

import torch
from accelerate.state import AcceleratorState

from textok.training.generator.train import train_generator


def main() -> None:
    torch.set_num_threads(1)
    runs, out = pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2])
    for run in runs:
        if run.name == "machines":  # of one rank each
            os.environ["LOCAL_WORLD_SIZE"] = "1"
        for stop in (None,) if run.name in ("whole", "bfloat16") else (2, None):
            train_generator(run, out / run.name, stop_at=stop)
            AcceleratorState._reset_state()


main()
