"""Train a generator on cached latents: read this file top to bottom (critical path 2).

The same command starts and resumes: everything needed to go on lies in the run folder. Neither the tokenizer nor
the text encoder runs in a training step.
"""

from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from textok.data.latents import LatentCache, LatentLoader
from textok.locking import writing_alone
from textok.models.generators import build_generator
from textok.models.layers import checkpoint_activations
from textok.models.tokenizer import count_parameters
from textok.pipeline.stopping import polite_stop
from textok.training import parallel as ranks
from textok.training.generator.config import GeneratorRun, fitted
from textok.training.generator.step import loss_of, micro_rows
from textok.training.generator.validation import Validation
from textok.training.input import StepInputs
from textok.training.optimizers import Average, build_optimizers, learning_rate, set_learning_rate
from textok.training.run_folder import RunFolder
from textok.training.state import Means, NonFiniteGuard, Throughput, TrainState
from textok.writing import check_target


@writing_alone
def train_generator(
    run: GeneratorRun,
    out: str | Path,
    *,
    stop_at: int | None = None,
    hours: float | None = None,
    extend: bool = False,
    accept_changes: bool = False,
) -> Path:
    """Train, or go on with, the run in folder ``out``; returns the folder of the exported weights.

    The arguments are those of ``train_tokenizer``; ``extend`` takes another preview in the place of a validation.

    Raises:
        ValueError: for settings that do not fit, a damaged cache, or a folder with another run.
        FloatingPointError: when too many losses or gradients were not finite.
    """
    # --- device and ranks ---------------------------------------------------------------------------------
    accelerator, dtype = ranks.start_accelerator(run), ranks.step_dtype(run.precision)
    rank, world, device = accelerator.process_index, accelerator.num_processes, accelerator.device

    # --- latents ------------------------------------------------------------------------------------------
    check_target(Path(out), sources=[run.latents], overwrite=True)
    cache = LatentCache.open(run.latents)
    loader = LatentLoader(cache, batch_size=run.batch_size // world, seed=run.seed, rank=rank, world=world)
    run = fitted(run, cache.manifest)

    # --- model --------------------------------------------------------------------------------------------
    torch.manual_seed(run.seed)
    model = build_generator(run.model).to(device)
    checkpoint_activations(model, enabled=run.activation_checkpointing)
    ema = Average(model, decay=run.ema_decay)
    parallel = ranks.Sharded(model, ema, accelerator) if run.sharded else ranks.Replicated(model, accelerator)
    if run.compile:
        ranks.compile_blocks(model)
    optimizers = build_optimizers(model, run.optimizer, dtype=dtype)

    # --- run folder and resume ----------------------------------------------------------------------------
    folder, is_main = RunFolder(out, extend=extend, accept_changes=accept_changes), rank == 0
    if is_main:
        facts = {"data": cache.manifest.fingerprint, "rows": len(cache), "ranks": world}
        folder.start(run, facts=facts)
    accelerator.wait_for_everyone()
    folder.trackers = ranks.start_trackers(accelerator, run)
    guard, means = NonFiniteGuard(limit=run.max_skipped_steps), Means()
    cut = partial(micro_rows, run=run, rank=rank, device=device)
    inputs = StepInputs(loader, cut, device=device, ahead=run.steps_ahead(device))
    state = TrainState(model, ema, parallel, optimizers, inputs, guard, means)
    step = state.resume(folder, rank=rank, world=world)
    preview = Validation(run, cache, accelerator=accelerator, parallel=parallel)
    if is_main:
        folder.forget_after(step)
        print(f"{run.name}: {count_parameters(model) / 1e6:.2f}M parameters, from step {step} of {run.steps}")

    # --- the loop -----------------------------------------------------------------------------------------
    last = run.steps if stop_at is None else min(run.steps, stop_at)
    throughput = Throughput()
    bar = tqdm(total=run.steps, initial=step, desc=run.name, unit="step", disable=not is_main)
    inputs.begin(step)
    with polite_stop(hours) as stop, closing(folder), closing(inputs), bar:
        while step < last and not stop.agreed(device):
            model.train()
            read = next(inputs)
            lr = learning_rate(run.optimizer, step=step, steps=run.steps)
            set_learning_rate(optimizers, lr)
            health = torch.zeros((), device=device)
            for part in read.parts:
                with nullcontext() if part.last else parallel.no_sync():
                    loss = loss_of(parallel.network, part, run) * part.share
                    accelerator.backward(loss)
                health = health + loss.detach()
            norm = parallel.clip_gradients(run.optimizer.clip_norm)
            total = accelerator.reduce(health + norm)  # a rank's trouble is everyone's
            if guard.admits(total):
                for optimizer in optimizers:
                    optimizer.step()
                ema.update_parameters(model)
                means.add({"loss": health, "grad_norm": norm})
            else:
                guard.note(folder, step=step + 1, rank=rank, keys=read.batch.keys)
            model.zero_grad(set_to_none=True)
            step += 1
            throughput.add(run.batch_size)
            bar.update()

            # --- log, preview, save -------------------------------------------------------------------------
            if step % run.log_every == 0:
                values = means.take(accelerator)  # empty when every step since the last line was skipped
                values |= {"lr": lr, "rows_per_second": throughput.take(), "skipped_steps": guard.skipped}
                bar.set_postfix_str(
                    f"loss {values.get('loss', float('nan')):.4f}, {values['rows_per_second']:.0f} rows/s"
                )
                if is_main:
                    folder.log(step, values)
            if step % run.preview.every == 0 or step == run.steps:
                preview.run(ema.module, folder, step=step)
                throughput.restart()
            if step % run.checkpoint_every == 0:
                state.save(folder, step=step, rank=rank)
        state.save(folder, step=step, rank=rank)

    # --- weights ------------------------------------------------------------------------------------------
    if is_main and step < run.steps:
        print(f"stopped at step {step} of {run.steps}; the same command goes on")
    preview.export(ema.module, folder, step=step)
    accelerator.wait_for_everyone()
    return folder.path / "weights"
