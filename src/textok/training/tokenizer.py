"""Train a tokenizer: read this file top to bottom (critical path 1).

The same command starts and resumes: everything needed to go on lies in the run folder.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import gather_object
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from textok.data import EvalLoader, TrainLoader, to_unit
from textok.data.samples import Batch
from textok.evaluation.captioned import CaptionedPictures
from textok.models.text import TextCondition
from textok.models.tokenizer import Reconstruction, TexTok, count_parameters
from textok.objectives.perceptual import EfficientNetPerceptualLoss, PerceptualLoss
from textok.objectives.reconstruction import l1_loss, l2_loss
from textok.pipeline.precision import inference_dtype
from textok.training.captions import CachedText
from textok.training.draws import drop_rows, step_generator
from textok.training.loop import Clock, Means, NonFiniteGuard, polite_stop
from textok.training.optimizers import (
    build_optimizers,
    ema_average,
    learning_rate,
    set_learning_rate,
)
from textok.training.run_folder import RunFolder
from textok.training.tokenizer_run import LossConfig, TokenizerRun
from textok.training.validation import Validation, export, first_batches


def train_tokenizer(run: TokenizerRun, out: str | Path, *, stop_at: int | None = None) -> Path:
    """Train, or go on with, the run in folder ``out``; returns the folder of the exported weights.

    Args:
        run: what to train.
        out: the run folder; must be new, or hold the same run.
        stop_at: leave after this step as an interrupt would (to split a run over sittings).

    Raises:
        ValueError: for settings that do not fit, or a folder with another run.
        FloatingPointError: when too many gradients were not finite.
    """
    # --- device and ranks ---------------------------------------------------------------------------------
    accelerator = Accelerator(mixed_precision=mixed_precision(run), cpu=not torch.cuda.is_available())
    rank, world, device = (
        accelerator.process_index,
        accelerator.num_processes,
        accelerator.device,
    )
    if run.batch_size % world:
        raise ValueError(f"batch_size: {run.batch_size} pictures do not split evenly over {world} ranks")

    # --- data and captions --------------------------------------------------------------------------------
    data = replace(run.data, size=(run.model.image_size, run.model.image_size))
    loader = TrainLoader(data, batch_size=run.batch_size // world, seed=run.seed, rank=rank, world=world)
    held_out = CaptionedPictures.collect(
        run.validation.split,
        EvalLoader(replace(data, split=run.validation.split, flip=False), batch_size=64),
        limit=run.validation.count,
    )
    text = None
    if run.model.placement != "none":
        text = CachedText(run.model, folder=run.text_cache, device=str(device))
        with accelerator.main_process_first():
            text.warm(
                [*loader.source.captions(), *held_out.captions],
                progress=accelerator.is_main_process,
            )

    # --- models -------------------------------------------------------------------------------------------
    torch.manual_seed(run.seed)
    model = TexTok(run.model)
    if run.init_from:
        start_from(model, run.init_from)
    model.checkpoint_activations(enabled=run.activation_checkpointing)
    ema = AveragedModel(model.to(device), multi_avg_fn=ema_average(run.ema_decay)).requires_grad_(False)
    optimizers = build_optimizers(model, run.optimizer)
    dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
    perceptual = build_perceptual(run.loss, device=device, dtype=dtype)
    network = accelerator.prepare(model)

    # --- run folder and resume ----------------------------------------------------------------------------
    folder = RunFolder(out)
    if accelerator.is_main_process:
        facts = {
            "data": loader.source.fingerprint,
            "samples": len(loader.source),
            "ranks": world,
        }
        folder.start(run, facts=facts)
    accelerator.wait_for_everyone()
    guard, validation = (
        NonFiniteGuard(limit=run.max_skipped_steps),
        Validation(run, held_out, text, autocast=dtype),
    )
    parts = Parts(model, ema, optimizers, loader, guard, validation)
    step = parts.resume(folder, rank=rank)
    if accelerator.is_main_process:
        folder.forget_after(step)
        print(f"{run.name}: {count_parameters(model) / 1e6:.2f}M parameters, from step {step} of {run.steps}")

    # --- the loop -----------------------------------------------------------------------------------------
    last = min(run.steps, stop_at or run.steps)
    means, clock, shown = Means(), Clock(), accelerator.is_main_process
    bar = tqdm(
        total=run.steps,
        initial=step,
        desc=run.name,
        unit="step",
        disable=not shown,
        dynamic_ncols=True,
    )
    with polite_stop() as stop, bar:
        while step < last and not agreed(stop.asked, accelerator):
            network.train()
            batch = next(loader)
            lr = learning_rate(run.optimizer, step=step, steps=run.steps)
            set_learning_rate(optimizers, lr)
            for part in micro_batches(batch, run, text, step=step, rank=rank, device=device):
                with accelerator.no_sync(network) if not part.last else nullcontext():
                    made = network(
                        part.images,
                        part.text,
                        lengths=part.lengths,
                        generator=part.noise,
                    )
                    terms = loss_terms(made, part.images, run.loss, perceptual)
                    accelerator.backward(sum(terms.values()) * part.share)
                means.add(
                    {
                        **{f"loss/{k}": v for k, v in terms.items()},
                        **made.bottled.statistics,
                    }
                )
            norm = accelerator.clip_grad_norm_(model.parameters(), run.optimizer.clip_norm)
            step += 1
            if guard.admits(torch.as_tensor(norm), step=step, keys=batch.keys):
                for optimizer in optimizers:
                    optimizer.step()
                ema.update_parameters(model)
                means.add({"grad_norm": torch.as_tensor(norm)})
            else:
                folder.append("skipped.jsonl", [{"step": step, "rank": rank, "keys": batch.keys}])
            model.zero_grad(set_to_none=True)
            bar.update()

            # --- log, evaluate, save ------------------------------------------------------------------------
            if step % run.log_every == 0:
                speed = run.log_every * run.batch_size / clock.lap()
                values = {
                    **means.take(),
                    "lr": lr,
                    "images_per_second": speed,
                    "skipped_steps": guard.skipped,
                }
                values["bad_samples"] = loader.bad.count
                bar.set_postfix_str(f"loss {values['loss/pixels']:.4f}, {speed:.0f} images/s")
                if shown:
                    folder.log(step, values)
            if step % run.validation.every == 0 or step == run.steps:
                validation.run(ema.module, folder, step=step, accelerator=accelerator)
                clock.lap()
            if step % run.checkpoint_every == 0 or step == last:
                parts.save(folder, step=step, rank=rank)
        if step < last:  # asked to stop
            parts.save(folder, step=step, rank=rank)

    # --- weights ------------------------------------------------------------------------------------------
    loader.close()
    if shown:
        if step < run.steps:
            print(f"stopped at step {step} of {run.steps}; the same command goes on")
        export(ema.module, run, folder, step=step, text=text, batches=first_batches(loader))
    accelerator.wait_for_everyone()
    return folder.path / "weights"


# --- one step ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MicroBatch:
    """A part of a rank's batch: what one pass through the network needs."""

    images: Float[Tensor, "b 3 h w"]
    text: TextCondition | None
    lengths: Int[Tensor, "b"] | None  # noqa: F821
    noise: torch.Generator
    share: float
    last: bool


def micro_batches(
    batch: Batch,
    run: TokenizerRun,
    text: CachedText | None,
    *,
    step: int,
    rank: int,
    device: torch.device,
) -> Iterator[MicroBatch]:
    """Cut a batch to what fits, with captions dropped and budgets drawn; random numbers depend on the step only."""
    draws = step_generator(run.seed, step=step, stream=f"rank {rank}")
    noise = torch.Generator(device).manual_seed(draws.initial_seed())
    lengths = run.budgets.lengths(len(batch), most=run.model.num_latents, generator=draws)
    dropped = drop_rows(len(batch), run.caption_dropout, generator=draws)
    condition = None if text is None else text(batch.captions).dropped(dropped)
    order = torch.arange(len(batch))
    if condition is not None:  # captions of like length together, so that little of a micro-batch is padding
        order = condition.mask.sum(dim=1).argsort(stable=True)
    for rows in order.split(run.micro_batch):
        images = to_unit(batch.images[rows].to(device))
        yield MicroBatch(
            images=images,
            text=None if condition is None else condition[rows].to(device),
            lengths=None if lengths is None else lengths[rows],
            noise=noise,
            share=len(images) / len(batch),
            last=bool(rows[-1] == order[-1]),
        )


def loss_terms(
    made: Reconstruction,
    images: Float[Tensor, "b 3 h w"],
    loss: LossConfig,
    perceptual: PerceptualLoss | None,
) -> dict[str, Float[Tensor, ""]]:
    """Weighted terms; their sum is the loss."""
    terms = {"pixels": images.new_zeros(()), "bottleneck": made.bottled.loss}
    if loss.l2:
        terms["pixels"] = terms["pixels"] + loss.l2 * l2_loss(made.images, images)
    if loss.l1:
        terms["pixels"] = terms["pixels"] + loss.l1 * l1_loss(made.images, images)
    if perceptual is not None:
        terms["perceptual"] = loss.perceptual * perceptual(made.images, images)
    return terms


# --- parts ------------------------------------------------------------------------------------------------


def mixed_precision(run: TokenizerRun) -> str:
    """Accelerate's word for the number type of the forward pass."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return "bf16" if inference_dtype(device, run.precision) == torch.bfloat16 else "no"


def build_perceptual(loss: LossConfig, *, device: torch.device, dtype: torch.dtype) -> PerceptualLoss | None:
    """The frozen network of the perceptual term, or None when its weight is 0."""
    if not loss.perceptual:
        return None
    if loss.perceptual_weights is None:
        return EfficientNetPerceptualLoss(dtype=dtype).to(device)
    from textok.objectives.lpips import LPIPS

    return LPIPS.from_file(loss.perceptual_weights, network=loss.perceptual_network).to(device)


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


def agreed(asked: bool, accelerator: Accelerator) -> bool:
    """Whether any rank was asked to stop, so that all leave at the same step."""
    if accelerator.num_processes == 1:
        return asked
    flag = torch.tensor([float(asked)], device=accelerator.device)
    dist.all_reduce(flag)
    return bool(flag.item() > 0)


@dataclass(frozen=True)
class Parts:
    """Everything a checkpoint holds."""

    model: TexTok
    ema: AveragedModel
    optimizers: list[Optimizer]
    loader: TrainLoader
    guard: NonFiniteGuard
    validation: Validation

    def save(self, folder: RunFolder, *, step: int, rank: int) -> None:
        """Write a checkpoint; all ranks call, rank 0 writes."""
        loaders = gather_object([self.loader.state_dict()])
        if rank != 0:
            return
        state = {
            "step": step,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "loaders": loaders,
            "skipped": self.guard.skipped,
            "best": self.validation.best,
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
        self.validation.best = state["best"]
        return state["step"]
