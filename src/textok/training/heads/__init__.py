"""Training of small heads on frozen features: the settings, the pictures, the loop and the record that they share."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from textok.checks import check
from textok.data import DataConfig, EvalLoader, Source
from textok.data.subset import SourceSubset
from textok.display import with_progress
from textok.models.config_json import encode_config
from textok.training.run_folder import environment


@dataclass(frozen=True, kw_only=True)
class HeadRun:
    """How a head is trained.

    Attributes:
        data: captioned pictures.
        split: their part to train on.
        limit: number of pictures of each part, at most.
        on_bad: "stop" at a picture that cannot be read, or "skip" it; those are listed in bad.jsonl.
        steps: optimizer steps.
        batch_size: number of pictures per step.
        lr: AdamW's largest learning rate; rises over the warm-up, then falls as a cosine to zero.
        weight_decay: AdamW's.
        seed: decides weights, order, dropout and all other draws.
    """

    data: str = "icons"
    split: str | None = "train"
    limit: int | None = None
    on_bad: Literal["stop", "skip"] = "stop"
    steps: int = 800
    batch_size: int = 512
    lr: float = 1e-3
    weight_decay: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        limits = ("limit",) if self.limit is not None else ()
        check(self, "", "steps", at_least=1)
        check(self, "", "batch_size", *limits, at_least=2)
        check(self, "", "lr", above=0)
        check(self, "", "weight_decay", at_least=0)

    def open(self, split: str | None, *, side: int, source: Source | None = None) -> EvalLoader:
        """The first pictures of a part, of this side in pixels; ``source`` where the part is open already."""
        size = (side, side)
        config = DataConfig(source=self.data, split=split, size=size, on_bad=self.on_bad, max_bad_share=1.0)
        source = source or config.open()
        places = range(min(len(source), self.limit or len(source)))
        return EvalLoader(config, batch_size=64, source=SourceSubset(source, places))


def fit_head(
    run: HeadRun,
    parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
    loss_of: Callable[[], Tensor],
    *,
    warmup: float,
    title: str,
) -> None:
    """Minimise a loss with AdamW.

    Args:
        run: the settings.
        parameters: parameters or groups of them, as an optimizer takes them.
        loss_of: draws a batch and returns its loss.
        warmup: steps over which the learning rate rises.
        title: name of the head in the progress bar.
    """

    def share_of_lr(step: int) -> float:
        rise = min(1.0, (step + 1) / max(1.0, warmup))
        return rise * 0.5 * (1 + math.cos(math.pi * step / run.steps))

    optimizer = torch.optim.AdamW(parameters, lr=run.lr, weight_decay=run.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_lr)
    for _ in with_progress(range(run.steps), run.steps, unit="step", title=title):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def record_of(run: HeadRun, *, pictures: int, scores: Any) -> dict[str, Any]:
    """The record stored with the weights of a head: its settings, its scores, and the code that trained it."""
    machine = environment()
    return {
        "run": encode_config(run),
        "pictures": pictures,
        "scores": scores,
        "environment": {key: machine[key] for key in ("code", "python", "libraries")},
    }
