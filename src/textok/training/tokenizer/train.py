"""Train a tokenizer: read this file top to bottom (critical path 1).

The same command starts and resumes: everything needed to go on lies in the run folder.
"""

from contextlib import closing, nullcontext
from pathlib import Path
from typing import cast

import torch
from tqdm import tqdm

from textok.data import EvalLoader
from textok.data.held_out import open_training
from textok.evaluation.captioned import CaptionedPictures
from textok.locking import writing_alone
from textok.models.layers import checkpoint_activations
from textok.models.tokenizer import TexTok, count_parameters
from textok.objectives.reconstruction import ReconstructionObjective
from textok.pipeline.stopping import polite_stop
from textok.training import parallel as ranks
from textok.training.optimizers import Average, build_optimizers, learning_rate, set_learning_rate
from textok.training.run_folder import RunFolder
from textok.training.state import Means, NonFiniteGuard, Throughput, TrainState
from textok.training.tokenizer import setup
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.step import DiscriminatorTraining, total
from textok.training.tokenizer.validation import Validation
from textok.writing import check_target


@writing_alone
def train_tokenizer(
    run: TokenizerRun,
    out: str | Path,
    *,
    stop_at: int | None = None,
    hours: float | None = None,
    extend: bool = False,
    accept_changes: bool = False,
) -> Path:
    """Train, or go on with, the run in folder ``out``; returns the folder of the exported weights.

    Args:
        out: the run folder; must be new, or hold the same run.
        stop_at: leave after this step as an interrupt would (to split a run over sittings).
        hours: leave after so many hours of steps, likewise.
        extend: go on with a run for other steps, or by another optimizer or validation.
        accept_changes: go on with a run although pictures or captions changed.

    Raises:
        ValueError: for settings that do not fit, or a folder with another run.
        FloatingPointError: when too many losses or gradients were not finite.
    """
    # --- device and ranks ---------------------------------------------------------------------------------
    accelerator, dtype = ranks.start_accelerator(run), ranks.step_dtype(run.precision)
    rank, world, device = accelerator.process_index, accelerator.num_processes, accelerator.device

    # --- data and captions --------------------------------------------------------------------------------
    check_target(Path(out), sources=[run.data.source], overwrite=True)
    with ranks.node_first(accelerator):  # which lists the files
        pictures = open_training(run.data, source=run.validation.source, split=run.validation.split)
    run = setup.with_batch(run, samples=len(pictures.train), world=world)
    loader = setup.open_loader(run, pictures.train, rank=rank, world=world)
    held_out_loader = EvalLoader(run.data, batch_size=64, source=pictures.held_out)
    held_out = CaptionedPictures.collect(pictures.name, held_out_loader, limit=run.validation.count)
    text = setup.read_captions(run, loader, held_out.captions, accelerator)

    # --- models -------------------------------------------------------------------------------------------
    torch.manual_seed(run.seed)
    model = TexTok(run.model)
    if run.init_from:
        setup.start_from(model, run.init_from)
    checkpoint_activations(model, enabled=run.activation_checkpointing)
    ema = Average(model.to(device), decay=run.ema_decay)
    averaged = cast(TexTok, ema.module)
    optimizers = build_optimizers(model, run.optimizer, dtype=dtype)
    objective = ReconstructionObjective(run.loss, dtype=dtype).to(device)
    discriminator = DiscriminatorTraining(run, model, accelerator)
    parallel = ranks.Replicated(model, accelerator)
    if run.compile:
        ranks.compile_blocks(model)

    # --- run folder and resume ----------------------------------------------------------------------------
    folder, is_main = RunFolder(out, extend=extend, accept_changes=accept_changes), rank == 0
    if is_main:
        setup.start_folder(
            folder, run, loader, held_out_loader, text, facts=pictures.facts | {"ranks": world}
        )
    accelerator.wait_for_everyone()
    folder.trackers = ranks.start_trackers(accelerator, run)
    guard, means = NonFiniteGuard(limit=run.max_skipped_steps), Means()
    validation = Validation(run, held_out, text, loader=loader, autocast=dtype)
    others = {"validation": validation, "discriminator": discriminator}
    inputs = setup.step_inputs(run, loader, text, accelerator)
    state = TrainState(model, ema, parallel, optimizers, inputs, guard, means, others)
    step = state.resume(folder, rank=rank, world=world)
    if is_main:
        folder.forget_after(step)
        print(f"{run.name}: {count_parameters(model) / 1e6:.2f}M parameters, from step {step} of {run.steps}")

    # --- the loop -----------------------------------------------------------------------------------------
    if step == 0 and run.init_from:  # the start is the best until a later one is better
        validation.run(averaged, folder, step=0, accelerator=accelerator)
    last = run.steps if stop_at is None else min(run.steps, stop_at)
    throughput = Throughput()
    bar = tqdm(total=run.steps, initial=step, desc=run.name, unit="step", disable=not is_main)
    inputs.begin(step)
    with polite_stop(hours) as stop, closing(folder), closing(inputs), bar:
        while step < last and not stop.agreed(device):
            model.train()
            read = setup.next_input(inputs, loader, folder, rank=rank)
            folder.contents.add(read.batch)
            lr = learning_rate(run.optimizer, step=step, steps=run.steps)
            set_learning_rate(optimizers, lr)
            health, records = torch.zeros((), device=device), []
            for part in read.parts:
                with nullcontext() if part.last else parallel.no_sync():
                    result = parallel.network(
                        part.images,
                        part.text,
                        decoder_text=part.decoder_text,
                        lengths=part.lengths,
                        generator=part.noise,
                    )
                    terms = objective(result, part.images)
                    terms |= discriminator.generator_term(result.images, terms, step=step)
                    accelerator.backward(total(terms) * part.share)
                terms |= discriminator.accumulate(part, result.images, step=step)
                losses = {f"loss/{name}": term.detach() for name, term in terms.items()}
                records.append(losses | result.statistics)
                health = health + sum(losses.values())
            norms = {"grad_norm": parallel.clip_gradients(run.optimizer.clip_norm)}
            norms |= discriminator.gradient_norms(step=step)
            health = accelerator.reduce(health + sum(norms.values()))  # a rank's trouble is everyone's
            if guard.admits(health):
                for optimizer in optimizers:
                    optimizer.step()
                ema.update_parameters(model)
                discriminator.step(step=step)
                for values in (*records, norms):
                    means.add(values)
            else:
                guard.note(folder, step=step + 1, rank=rank, keys=read.batch.keys)
            model.zero_grad(set_to_none=True)
            discriminator.zero_grad()
            step += 1
            throughput.add(run.batch_size)
            bar.update()

            # --- log, evaluate, save ------------------------------------------------------------------------
            if step % run.log_every == 0:
                values = means.take(accelerator)  # empty when every step since the last line was skipped
                values |= {"lr": lr, "images_per_second": throughput.take()}
                values |= {"skipped_steps": guard.skipped, "bad_samples": read.state["bad"]["count"]}
                loss, speed = values.get("loss/pixels", float("nan")), values["images_per_second"]
                bar.set_postfix_str(f"loss {loss:.4f}, {speed:.0f} images/s")
                if is_main:
                    folder.log(step, values)
            if step % run.validation.every == 0 or step == run.steps:
                validation.run(averaged, folder, step=step, accelerator=accelerator)
                throughput.restart()
            if step % run.checkpoint_every == 0:
                state.save(folder, step=step, rank=rank)
        state.save(folder, step=step, rank=rank)

    # --- weights ------------------------------------------------------------------------------------------
    loader.close()
    if is_main:
        if step < run.steps:
            print(f"stopped at step {step} of {run.steps}; the same command goes on")
        validation.export(averaged, folder, step=step)
    accelerator.wait_for_everyone()
    return folder.path / "weights"
