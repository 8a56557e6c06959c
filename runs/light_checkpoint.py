"""A run folder that is small enough to move: its record, its log, and its last checkpoint without the optimizers.

    python runs/light_checkpoint.py runs-out/scenes-128 moved/scenes-128

The averaged weights, in 16 bits, stand for all weights: 2 bytes a parameter in place of 16. The same command as ever
goes on from there, on any machine, though not bit for bit: the optimizers gather their moments anew.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from textok.training.run_folder import RunFolder


def lighten(state: dict[str, Any]) -> dict[str, Any]:
    """The averaged weights in 16 bits stand for all weights, and the optimizers start anew."""
    weights = {name: t.half() if t.is_floating_point() else t for name, t in state["ema"].items()}
    rest = {name: state[name] for name in ("step", "averaged", "loaders", "skipped", "others")}
    return rest | {"model": weights, "optimizers": [], "means": []}


def write_light(run: Path, out: Path) -> Path:
    """Copy what a run needs to go on; returns the checkpoint.

    Raises:
        ValueError: when the run has no checkpoint.
    """
    state = RunFolder(run).latest()
    if state is None:
        raise ValueError(f"{run}: no checkpoint; expected the folder of a run that has saved one")
    out.mkdir(parents=True, exist_ok=True)
    for name in ("run.json", "metrics.jsonl"):
        shutil.copyfile(run / name, out / name)
    light = state if not state["optimizers"] else lighten(state)
    RunFolder(out).save(state["step"], light)
    return RunFolder(out).checkpoints


if __name__ == "__main__":
    print(write_light(Path(sys.argv[1]), Path(sys.argv[2])))
