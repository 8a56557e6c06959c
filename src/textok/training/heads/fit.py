"""The parts that trainings of small heads share: pictures with a bar, the loop, and the record."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from textok.data import EvalLoader
from textok.data.samples import Batch
from textok.display import Progress, with_progress
from textok.models.config_json import encode_config
from textok.training.run_folder import environment


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """The loop of a head.

    Attributes:
        steps: optimizer steps.
        warmup: steps over which the learning rate rises, before it falls as a cosine to zero.
        lr: AdamW's largest learning rate.
        weight_decay: AdamW's.
        title: name of the head in the progress bar.
    """

    steps: int
    warmup: float
    lr: float
    weight_decay: float
    title: str


def fit_head(
    parameters: Iterable[Tensor] | Iterable[dict[str, Any]], loss_of: Callable[[], Tensor], config: FitConfig
) -> None:
    """Minimise a loss with AdamW.

    Args:
        parameters: parameters or groups of them, as an optimizer takes them.
        loss_of: draws a batch and returns its loss.
        config: the loop.
    """
    optimizer = torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share_of_lr(config, step))
    for _ in with_progress(range(config.steps), config.steps, unit="step", title=config.title):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def first_batches(loader: EvalLoader, *, limit: int | None, title: str) -> Iterator[Batch]:
    """Whole batches until there are ``limit`` pictures, with a progress bar."""
    total = min(len(loader.source), limit or len(loader.source))
    count = 0
    with Progress(total, unit="image", title=title) as progress:
        for batch in loader:
            yield batch
            progress.update(len(batch))
            count += len(batch)
            if count >= total:
                return


def record_of(run: Any, *, pictures: int, scores: Any) -> dict[str, Any]:
    """The record stored with the weights of a head: its settings, its scores, and the code that trained it."""
    machine = environment()
    return {
        "run": encode_config(run),
        "pictures": pictures,
        "scores": scores,
        "environment": {key: machine[key] for key in ("code", "python", "libraries")},
    }


def _share_of_lr(config: FitConfig, step: int) -> float:
    rise = min(1.0, (step + 1) / max(1.0, config.warmup))
    return rise * 0.5 * (1 + math.cos(math.pi * step / config.steps))
