"""What each of two processes runs: generator runs, those not named "whole" stopped on the way. Started by torchrun."""

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
        for stop in (None,) if run.name == "whole" else (2, None):
            train_generator(run, out / run.name, stop_at=stop)
            AcceleratorState._reset_state()


main()
