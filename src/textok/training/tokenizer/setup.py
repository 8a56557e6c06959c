"""Where a tokenizer run starts from, and how it takes its captions and batches."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from accelerate import Accelerator

from textok.data import BadSampleError, Batch, TrainLoader
from textok.data.samples import write_bad
from textok.display import note
from textok.models.tokenizer import TexTok
from textok.pipeline.text import CachedText
from textok.training.input import StepInput, StepInputs
from textok.training.run_folder import RunFolder
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.step import MicroBatch, micro_batches


def start_from(model: TexTok, name_or_folder: str) -> None:
    """Copy the weights of a trained tokenizer of the same shape; its latent statistics are measured anew.

    Raises:
        ValueError: for a tokenizer of another configuration.
    """
    trained = TexTok.from_pretrained(name_or_folder)
    if trained.config != model.config:
        raise ValueError(
            f"init_from: got {name_or_folder} with another configuration, expected that of model; "
            "set model.* to its values"
        )
    model.load_state_dict(trained.state_dict())
    model.latent_mean.zero_()
    model.latent_std.fill_(1.0)


def with_batch(run: TokenizerRun, *, samples: int, world: int) -> TokenizerRun:
    """The run with a batch that the samples fill: fewer of them than a batch make a smaller one, which is said."""
    largest = samples // world * world
    if not largest or run.batch_size <= largest:
        return run
    note(f"batch_size: {samples} samples do not fill {run.batch_size}; it is {largest}")
    return replace(run, batch_size=largest)


def read_captions(
    run: TokenizerRun, loader: TrainLoader, held_out: Sequence[str], accelerator: Accelerator
) -> CachedText | None:
    """The states of all captions, encoded once and shared by the ranks; None for a model that reads none.

    Captions of pictures that are composed without end are encoded as they come.
    """
    if run.model.placement == "none":
        return None
    text = CachedText(run.model, folder=run.text_cache, dtype=run.text_dtype, device=str(accelerator.device))
    if run.text_states == "online":
        text.encode_online()
        return text
    captions = list(held_out)
    if loader.source.max_window == 0:  # composed without end
        text.encode_unstored()
    else:
        captions += loader.source.captions()
    rank, world = accelerator.process_index, accelerator.num_processes
    text.warm(captions[rank::world], progress=accelerator.is_main_process)
    accelerator.wait_for_everyone()
    return text


def step_inputs(
    run: TokenizerRun, loader: TrainLoader, text: CachedText | None, *, rank: int, device: torch.device
) -> StepInputs[Batch, MicroBatch]:
    """What the steps read; the pictures are held on the device where ``data.resident`` is set."""
    if run.data.resident is not None:
        loader.hold(device)

    def cut(batch: Batch, step: int) -> Iterator[MicroBatch]:
        return micro_batches(batch, run, text, step=step, rank=rank, device=device)

    return StepInputs(loader, cut, device=device, ahead=run.steps_ahead(device))


def next_input(
    inputs: StepInputs[Batch, MicroBatch], loader: TrainLoader, folder: RunFolder, *, rank: int
) -> StepInput[Batch, MicroBatch]:
    """The input of the next step; when bad samples stop the run, they are listed in the run folder first."""
    try:
        return next(inputs)
    except BadSampleError:
        write_bad(folder.path, loader.bad.samples, rank=rank, add=True)
        raise
