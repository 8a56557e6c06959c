"""What a generator training is put together from, and how all of it is saved and restored."""

from dataclasses import dataclass, replace
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from textok.data.latents import LatentLoader, Manifest
from textok.models.conditions import ConditionConfig
from textok.models.dit import DiTConfig
from textok.training.generator.config import GeneratorRun
from textok.training.generator.parallel import Replicated, Sharded
from textok.training.run_folder import RunFolder
from textok.training.runtime import Means, NonFiniteGuard


def fitted(run: GeneratorRun, manifest: Manifest) -> GeneratorRun:
    """The run with everything in its model that the tokenizer of the cache fixes.

    Raises:
        ValueError: when the model cannot be trained on such tokens.
    """
    discrete = manifest.num_codes is not None
    if isinstance(run.model, DiTConfig) == discrete:
        found, fits = ("codes", "a MaskGIT") if discrete else ("continuous latents", "a DiT")
        raise ValueError(f"{run.data}: holds {found} of a {manifest.kind} tokenizer; train {fits} on them")
    if run.sharded and run.optimizer.kind != "adamw":
        raise ValueError(f"optimizer.kind: got {run.optimizer.kind!r} with sharded weights; expected adamw")
    values: dict[str, Any] = {
        "num_latents": manifest.num_latents,
        "tokenizer": manifest.tokenizer,
        "tokenizer_source": manifest.tokenizer_source,
        "condition": fitted_condition(run.model.condition, manifest, data=run.data),
    }
    values |= {"num_codes": manifest.num_codes} if discrete else {"latent_dim": manifest.latent_dim}
    return replace(run, model=replace(run.model, **values))


def fitted_condition(asked: ConditionConfig, manifest: Manifest, *, data: str) -> ConditionConfig:
    """The condition, as the cached rows have it."""
    if asked.kind == "text":
        if not manifest.settings.get("text", True):
            raise ValueError(f"{data}: was cached without text; cache it with, or train on classes")
        return replace(
            asked,
            text_encoder=manifest.text_encoder,
            text_dim=manifest.text_dim,
            max_text_tokens=manifest.max_text_tokens,
        )
    if manifest.num_classes is None:
        raise ValueError(f"{data}: its rows have no classes; cache a source with labels, or train on text")
    if asked.num_classes and asked.num_classes < manifest.num_classes:
        raise ValueError(
            f"condition.num_classes: got {asked.num_classes}, but {data} has {manifest.num_classes} classes"
        )
    return replace(asked, num_classes=asked.num_classes or manifest.num_classes)


def place(model: nn.Module, ema: AveragedModel, accelerator: Accelerator, *, sharded: bool) -> Replicated:
    """Whole weights on every rank, or parts of them."""
    if sharded:
        if accelerator.num_processes == 1:
            raise ValueError("sharded: needs more than one rank; start with torchrun --nproc-per-node N")
        return Sharded(model, ema.module, accelerator)
    return Replicated(model, accelerator)


@dataclass(frozen=True)
class GeneratorParts:
    """Everything a checkpoint holds."""

    model: nn.Module
    ema: AveragedModel
    optimizers: list[Optimizer]
    loader: LatentLoader
    guard: NonFiniteGuard
    means: Means
    placing: Replicated

    def save(self, folder: RunFolder, *, step: int, rank: int) -> None:
        """Write a checkpoint; all ranks call, rank 0 writes."""
        loaders = gather_object([self.loader.state_dict()])
        means = gather_object([self.means.state_dict()])
        state = {
            "step": step,
            "model": self.placing.weights(self.model),
            "ema": self.placing.weights(self.ema.module),
            "averaged": int(self.ema.n_averaged),
            "optimizers": [self.placing.optimizer_state(optimizer) for optimizer in self.optimizers],
            "loaders": loaders,
            "skipped": self.guard.skipped,
            "means": means,
        }
        if rank == 0:
            folder.save(step, state)

    def resume(self, folder: RunFolder, *, rank: int) -> int:
        """Load the newest checkpoint, if there is one; returns the step to go on from."""
        state = folder.latest()
        if state is None:
            return 0
        self.placing.load_weights(self.model, state["model"])
        self.placing.load_weights(self.ema.module, state["ema"])
        self.ema.n_averaged.fill_(state["averaged"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            self.placing.load_optimizer(optimizer, saved)
        self.loader.load_state_dict(state["loaders"][rank])
        self.guard.skipped = state["skipped"]
        self.means.load_state_dict(state["means"][rank])
        return state["step"]
