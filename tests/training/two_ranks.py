"""Trains the pickled runs in argv[1] one after another under torchrun, and notes what each rank holds at the end.

Started by test_ranks.py. Run "gan" has a NaN on rank 1 alone in its second step, and a cold caption cache; it
stops after that step, in the middle of a line of the log, and goes on.
"""

import hashlib
import json
import pickle
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from textok.pipeline.text import CachedText
from textok.training.parallel import _patient_group
from textok.training.run_folder import RunFolder
from textok.training.state import TrainState
from textok.training.tokenizer import setup
from textok.training.tokenizer import train as tokenizer
from textok.training.tokenizer.step import DiscriminatorTraining
from tiny import invented_states

whole_step, save, resume = setup.micro_batches, TrainState.save, TrainState.resume


def spoilt(batch: Any, run: Any, *args: Any, step: int, rank: int, **kwargs: Any) -> Iterator[Any]:
    bad = run.name == "gan" and step == 1 and rank == 1
    for part in whole_step(batch, run, *args, step=step, rank=rank, **kwargs):
        yield replace(part, images=part.images * torch.nan) if bad else part


def digest(state: dict[str, torch.Tensor]) -> str:
    """Of the weights; latent statistics of the average are measured on rank 0 alone, for the export."""
    content = b"".join(v.numpy().tobytes() for k, v in sorted(state.items()) if "latent_" not in k)
    return hashlib.sha256(content).hexdigest()


def save_and_note(state: TrainState, folder: RunFolder, *, step: int, rank: int) -> None:
    found = {"model": digest(state.model.state_dict()), "ema": digest(state.ema.state_dict())}
    discriminator = state.others["discriminator"]
    if isinstance(discriminator, DiscriminatorTraining) and discriminator.parts:
        found["discriminator"] = digest(discriminator.discriminator.state_dict())
        found["anchors"] = digest(discriminator.objective.state_dict())
    note = {"step": step, "replica": found, "skipped": state.guard.skipped, "means": means_of(state)}
    (folder.path / f"rank-{rank}-step-{step}.json").write_text(json.dumps(note))
    save(state, folder, step=step, rank=rank)


def resume_and_note(state: TrainState, folder: RunFolder, *, rank: int, world: int) -> int:
    step = resume(state, folder, rank=rank, world=world)
    groups = torch.distributed.group.WORLD, _patient_group(torch.distributed.group.WORLD)
    patience = [g._get_backend(torch.device("cpu")).options._timeout.total_seconds() for g in groups]
    note = {"step": step, "means": means_of(state), "patience": patience}
    (folder.path / f"rank-{rank}-resumed-{step}.json").write_text(json.dumps(note))
    return step


def means_of(state: TrainState) -> dict[str, float]:
    """Sums since the last line of the log, of this rank."""
    return {name: float(total) for name, total in state.means.state_dict()["sums"].items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    setup.micro_batches, TrainState.save, TrainState.resume = spoilt, save_and_note, resume_and_note
    CachedText._encoder = lambda text: invented_states
    for run in pickle.loads(Path(sys.argv[1]).read_bytes()):
        out = Path(sys.argv[2]) / run.name
        if run.name == "gan":
            tokenizer.train_tokenizer(run, out, stop_at=2)
        tokenizer.train_tokenizer(run, out)
    torch.distributed.destroy_process_group()
