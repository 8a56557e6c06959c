"""Everything that a checkpoint of a training run holds, and how it is saved and restored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from accelerate.utils import gather_object
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from textok.data.samples import BadSample, write_bad
from textok.training.input import Stateful
from textok.training.parallel import Replicated
from textok.training.run_folder import RunFolder
from textok.training.runtime import Means, NonFiniteGuard


@dataclass(frozen=True)
class TrainState:
    """The state of a run.

    Attributes:
        model, ema: the trained and the averaged weights.
        parallel: how the ranks hold them.
        optimizers: together they move every weight once.
        loader: where in the data each rank is.
        guard: counts skipped steps.
        means: what was added since the last log line.
        others: further parts that one kind of training has, by name.
    """

    model: nn.Module
    ema: AveragedModel
    parallel: Replicated
    optimizers: list[Optimizer]
    loader: Stateful
    guard: NonFiniteGuard
    means: Means
    others: Mapping[str, Stateful] = field(default_factory=dict)

    def save(self, folder: RunFolder, *, step: int, rank: int) -> None:
        """Write a checkpoint; all ranks call, rank 0 writes."""
        loaders = gather_object([self.loader.state_dict()])
        state = {
            "step": step,
            "model": self.parallel.weights(self.model),
            "ema": self.parallel.weights(self.ema.module),
            "averaged": int(self.ema.n_averaged),
            "optimizers": [self.parallel.optimizer_state(optimizer) for optimizer in self.optimizers],
            "loaders": loaders,
            "skipped": self.guard.skipped,
            "means": gather_object([self.means.state_dict()]),
            "others": {name: part.state_dict() for name, part in self.others.items()},
        }
        if rank == 0:
            folder.save(step, state)
            if "bad" in loaders[0]:  # latents have no bad samples
                bad = [BadSample(**record) for one in loaders for record in one["bad"]["samples"]]
                write_bad(folder.path, bad, add=True)

    def resume(self, folder: RunFolder, *, rank: int, world: int) -> int:
        """Load the newest checkpoint, if there is one; returns the step to go on from.

        From a light one, or one of another number of ranks, the run does not go on bit for bit.
        """
        state = folder.latest()
        if state is None:
            return 0
        self.parallel.load_weights(self.model, state["model"])
        self.parallel.load_weights(self.ema.module, state.get("ema", state["model"]))
        self.ema.n_averaged.fill_(state["averaged"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=bool(state["optimizers"])):
            self.parallel.load_optimizer(optimizer, saved)
        # What changed was accepted when the run was started.
        same = {"data": self.loader.state_dict()["data"]}
        self.loader.load_state_dict(_position(state["loaders"], rank=rank) | same)
        self.guard.skipped = state["skipped"]
        if len(state["means"]) == world:
            self.means.load_state_dict(state["means"][rank])
        for name, part in self.others.items():
            part.load_state_dict(state["others"][name])
        return state["step"]


def _position(loaders: list[dict[str, Any]], *, rank: int) -> dict[str, Any]:
    """Where a rank goes on: all are at the same place; the bad samples of one that was not there are none."""
    if rank < len(loaders):
        return loaders[rank]
    nothing = {"bad": {"seen": 0, "count": 0, "samples": []}} if "bad" in loaders[0] else {}
    return loaders[0] | nothing
