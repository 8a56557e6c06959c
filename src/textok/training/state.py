"""What a training keeps beside its loop: skipped steps, means, speed, and all that a checkpoint holds."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from textok.data.samples import BadSample, write_bad
from textok.training.input import Stateful
from textok.training.parallel import Replicated
from textok.training.run_folder import RunFolder


class NonFiniteGuard:
    """Counts steps whose loss or gradient was not finite; such a step changes no weights."""

    def __init__(self, *, limit: int) -> None:
        self.limit = limit
        self.skipped = 0

    def admits(self, health: Float[Tensor, ""]) -> bool:
        """Whether the step may be taken: ``health`` is finite when all losses and gradients are."""
        admitted = bool(torch.isfinite(health))
        self.skipped += not admitted
        return admitted

    def note(self, folder: RunFolder, *, step: int, rank: int, keys: list[str]) -> None:
        """List a skipped step in skipped.jsonl; ``FloatingPointError`` when they are more than ``limit``."""
        folder.append("skipped.jsonl", {"step": step, "rank": rank, "keys": keys})
        if self.skipped > self.limit:
            raise FloatingPointError(
                f"step {step}: loss or gradient is not finite, as in {self.limit} steps before "
                f"(max_skipped_steps); stopped. First keys of this batch: {', '.join(keys[:8])}; all are in "
                "skipped.jsonl. Look at these pictures, or start anew with a lower optimizer.lr"
            )


class Means:
    """Running means of named scalars between two log lines; the device is read only when they are taken."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: dict[str, Tensor]) -> None:
        """Add one value for each name."""
        for name, value in values.items():
            value = value.detach().float()
            self._sums[name] = self._sums[name].to(value.device) + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self, accelerator: Accelerator) -> dict[str, float]:
        """The means since the last call, over all ranks; every rank must call, with the same names."""
        if not self._sums:
            return {}
        means = [total.to(accelerator.device) / self._counts[name] for name, total in self._sums.items()]
        values = accelerator.reduce(torch.stack(means), reduction="mean").tolist()
        means_by_name = dict(zip(self._sums, values, strict=True))
        self._sums, self._counts = {}, {}
        return means_by_name

    def state_dict(self) -> dict[str, Any]:
        """What this rank added since the last line."""
        sums = {name: total.cpu() for name, total in self._sums.items()}
        return {"sums": sums, "counts": dict(self._counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from saved sums."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])


class Throughput:
    """Samples of all ranks per second since it was last read or restarted."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what was counted, so that an evaluation does not slow the numbers down."""
        self._samples, self._since = 0, time.perf_counter()

    def add(self, samples: int) -> None:
        """Count samples of all ranks."""
        self._samples += samples

    def take(self) -> float:
        """The rate; counting starts anew."""
        rate = self._samples / (time.perf_counter() - self._since)
        self.restart()
        return rate


@dataclass(frozen=True)
class TrainState:
    """The state of a run, as its checkpoints hold it; ``others`` are what one kind of training has, by name."""

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
            "model": self.parallel.whole(self.model),
            "ema": self.parallel.whole(self.ema.module),
            "averaged": int(self.ema.n_averaged),
            "optimizers": [self.parallel.whole(optimizer) for optimizer in self.optimizers],
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
        self.parallel.load(self.model, state["model"])
        self.parallel.load(self.ema.module, state.get("ema", state["model"]))
        self.ema.n_averaged.fill_(state["averaged"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=bool(state["optimizers"])):
            self.parallel.load(optimizer, saved)
        # All ranks are at the same place; the bad samples of one that was not there are none.
        loaders, none = state["loaders"], {"bad": {"seen": 0, "count": 0, "samples": []}}
        new = loaders[0] | (none if "bad" in loaders[0] else {})
        # What changed was accepted when the run was started.
        same = {"data": self.loader.state_dict()["data"]}
        self.loader.load_state_dict((loaders[rank] if rank < len(loaders) else new) | same)
        self.guard.skipped = state["skipped"]
        if len(state["means"]) == world:
            self.means.load_state_dict(state["means"][rank])
        for name, part in self.others.items():
            part.load_state_dict(state["others"][name])
        return state["step"]
