"""What a tokenizer training is put together from, and how all of it is saved and restored."""

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from textok.data import BadSampleError, Batch, TrainLoader
from textok.models.tokenizer import TexTok
from textok.objectives.discriminator import DiscriminatorConfig
from textok.objectives.lpips import LPIPS
from textok.objectives.perceptual import EfficientNetPerceptualLoss, PerceptualLoss
from textok.training.run_folder import RunFolder
from textok.training.runtime import Means, NonFiniteGuard
from textok.training.tokenizer.config import LossConfig, TokenizerRun
from textok.training.tokenizer.discriminator import Critic
from textok.training.tokenizer.validation import Validation


def build_perceptual(loss: LossConfig, *, device: torch.device, dtype: torch.dtype) -> PerceptualLoss | None:
    """The frozen network of the perceptual term, or None when its weight is 0."""
    if not loss.perceptual:
        return None
    if loss.perceptual_weights is None:
        return EfficientNetPerceptualLoss(dtype=dtype).to(device)
    return LPIPS(loss.perceptual_weights, net=loss.perceptual_network, dtype=dtype).to(device)


def build_critic(run: TokenizerRun, accelerator: Accelerator) -> Critic | None:
    """The discriminator with its optimizer, or None without GAN terms."""
    if run.adversarial is None:
        return None
    widths = run.discriminator or DiscriminatorConfig.for_resolution(run.model.image_size)
    return Critic(run.adversarial, widths, run.critic_optimizer, steps=run.steps, accelerator=accelerator)


def start_from(model: TexTok, name_or_folder: str) -> None:
    """Copy the weights of a trained tokenizer of the same shape; its latent statistics are measured anew."""
    trained = TexTok.from_pretrained(name_or_folder)
    if trained.config != model.config:
        raise ValueError(
            f"init_from: {name_or_folder} has another model configuration; set model.* to its values"
        )
    model.load_state_dict(trained.state_dict())
    model.latent_mean.zero_()
    model.latent_std.fill_(1.0)


def next_batch(loader: TrainLoader, folder: RunFolder, *, rank: int) -> Batch:
    """The next batch; when bad samples stop the run, they are listed in the run folder first."""
    try:
        return next(loader)
    except BadSampleError:
        name = "bad_samples.jsonl" if rank == 0 else f"bad_samples-rank{rank}.jsonl"
        folder.replace_records(name, [vars(bad) for bad in loader.bad.samples])
        raise


@dataclass(frozen=True)
class Parts:
    """Everything a checkpoint holds."""

    model: TexTok
    ema: AveragedModel
    optimizers: list[Optimizer]
    loader: TrainLoader
    guard: NonFiniteGuard
    means: Means
    validation: Validation
    critic: Critic | None

    def save(self, folder: RunFolder, *, step: int, rank: int) -> None:
        """Write a checkpoint; all ranks call, rank 0 writes."""
        loaders = gather_object([self.loader.state_dict()])
        means = gather_object([self.means.state_dict()])
        if rank != 0:
            return
        state = {
            "step": step,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "loaders": loaders,
            "skipped": self.guard.skipped,
            "means": means,
            "best": self.validation.best,
            "critic": None if self.critic is None else self.critic.state_dict(),
        }
        folder.save(step, state)
        folder.replace_records(
            "bad_samples.jsonl",
            [r for loader in loaders for r in loader["bad"]["samples"]],
        )

    def resume(self, folder: RunFolder, *, rank: int) -> int:
        """Load the newest checkpoint, if there is one; returns the step to go on from."""
        state = folder.latest()
        if state is None:
            return 0
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.loader.load_state_dict(state["loaders"][rank])
        self.guard.skipped = state["skipped"]
        self.means.load_state_dict(state["means"][rank])
        self.validation.best = state["best"]
        if self.critic is not None:
            self.critic.load_state_dict(state["critic"])
        return state["step"]
