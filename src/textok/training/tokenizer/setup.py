"""Where a tokenizer run starts from, and how it takes its captions and batches."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from accelerate import Accelerator

from textok.data import BadSampleError, Batch, DataConfig, EvalLoader, Source, TrainLoader
from textok.data.held_out import open_train
from textok.data.loading import Mix, MixedLoader
from textok.data.samples import write_bad
from textok.display import note
from textok.models.tokenizer import TexTok
from textok.pipeline.text import CachedText
from textok.training.input import StepInput, StepInputs
from textok.training.parallel import node_first, wait_long
from textok.training.run_folder import RunFolder
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.step import MicroBatch, micro_batches

Loader = TrainLoader | MixedLoader


def start_from(model: TexTok, name_or_folder: str) -> None:
    """Copy the weights of a trained tokenizer; its latent statistics are measured anew.

    The model may have another decoder kind, bottleneck or way to read captions: what the trained one lacks there starts
    from its random weights, which is said. ``ValueError`` for other transformers, or another text encoder.
    """
    trained = TexTok.from_pretrained(name_or_folder)
    free = {name: getattr(model.config, name) for name in ("text_dtype", *_STARTS_ANEW)}
    if replace(trained.config, **free) != model.config:
        raise ValueError(
            f"init_from: got {name_or_folder} with another configuration, expected that of model "
            f"in all but {', '.join(_STARTS_ANEW)}; set model.* to its values"
        )
    # Caption tokens lie a level deeper where they are pooled.
    old, place = (
        ".text." if config.text_pool is None else ".text.tokens." for config in (trained.config, model.config)
    )
    states = {name.replace(old, place): tensor for name, tensor in trained.state_dict().items()}
    new = []
    for name, tensor in model.state_dict().items():
        source = states.get(name)
        if source is not None and name.endswith("text.positions"):
            tensor, source = tensor[: len(source)], source[: len(tensor)]
        if source is None or source.shape != tensor.shape:
            new.append(name)
        else:
            tensor.copy_(source)
    model.latent_mean.zero_()
    model.latent_std.fill_(1.0)
    if new:
        note(f"init_from: {name_or_folder} lacks {len(new)} tensors of the model, and these start at random")


_STARTS_ANEW = ("decoder", "bottleneck", "text_pool", "text_path", "text_bias", "max_text_tokens")


def with_batch(run: TokenizerRun, *, samples: int, world: int) -> TokenizerRun:
    """The run with a batch that the samples fill: fewer of them than a batch make a smaller one, which is said."""
    mix = Mix.parse(run.mix) if run.mix else None
    sizes = range(1 if mix is None else 2, run.batch_size // world + 1)
    fitting = [size for size in sizes if size - (mix.count(size) if mix else 0) <= samples // world]
    largest = max(fitting, default=0) * world
    if not largest or run.batch_size <= largest:
        return run
    note(f"batch_size: {samples} samples do not fill {run.batch_size}; it is {largest}")
    return replace(run, batch_size=largest)


def open_loader(run: TokenizerRun, source: Source, *, rank: int, world: int) -> Loader:
    """The training batches of a rank: of its pictures, and of another source where the run mixes them."""
    batch_size, place = run.batch_size // world, {"seed": run.seed, "rank": rank, "world": world}
    if run.mix is None:
        return TrainLoader(run.data, batch_size=batch_size, source=source, **place)
    mix = Mix.parse(run.mix)
    if batch_size < 2:
        raise ValueError(f"batch_size: got {batch_size} a rank, expected at least 2 with mix {run.mix}")
    count, data = mix.count(batch_size), run.data
    config = DataConfig(
        source=mix.source, split="train", size=data.size, workers=data.workers, on_bad=data.on_bad
    )
    other = TrainLoader(config, batch_size=count, source=open_train(config), **place)
    return MixedLoader(TrainLoader(run.data, batch_size=batch_size - count, source=source, **place), other)


def start_folder(
    folder: RunFolder,
    run: TokenizerRun,
    loader: Loader,
    held_out: EvalLoader,
    text: CachedText | None,
    *,
    facts: dict[str, Any],
) -> None:
    """Begin a run folder, or make sure that it is of this run and these pictures; errors as of ``RunFolder.start``."""
    source = loader.source
    facts = {"data": source.fingerprint, "samples": len(source)} | facts
    facts |= {} if text is None else {"text_encoder": text.fingerprint}
    facts |= {"mix": loader.mixed_source.fingerprint} if isinstance(loader, MixedLoader) else {}
    folder.start(run, facts=facts, source=source, held_out=held_out.contents)
    write_bad(folder.path, held_out.bad.samples, add=True)


def read_captions(
    run: TokenizerRun, loader: Loader, held_out: Sequence[str], accelerator: Accelerator
) -> CachedText | None:
    """The states of all captions, encoded once and shared by the ranks; None for a model that reads none.

    Captions of pictures that are composed without end, or mixed in, are encoded as they come.
    """
    if run.model.placement == "none":
        return None
    device = str(accelerator.device)
    with node_first(accelerator):  # which fetches it
        text = CachedText(run.model, folder=run.text_cache, device=device)
    if run.text_states == "online":
        text.encode_online()
        return text
    captions = list(held_out)
    endless = loader.source.max_window == 0
    if endless or run.mix is not None:
        text.encode_unstored()
    if not endless:
        captions += loader.source.captions()
    rank, world = accelerator.process_index, accelerator.num_processes
    text.warm(captions[rank::world], progress=accelerator.is_main_process)
    wait_long(accelerator)
    return text


def step_inputs(
    run: TokenizerRun, loader: Loader, text: CachedText | None, accelerator: Accelerator
) -> StepInputs[Batch, MicroBatch]:
    """What the steps read; the pictures are held on the device where ``data.resident`` is set."""
    rank, device = accelerator.process_index, accelerator.device
    if run.data.resident is not None:
        with node_first(accelerator):
            loader.hold(device)

    def cut(batch: Batch, step: int) -> Iterator[MicroBatch]:
        return micro_batches(batch, run, text, step=step, rank=rank, device=device)

    return StepInputs(loader, cut, device=device, ahead=run.steps_ahead(device))


def next_input(
    inputs: StepInputs[Batch, MicroBatch], loader: Loader, folder: RunFolder, *, rank: int
) -> StepInput[Batch, MicroBatch]:
    """The input of the next step; when bad samples stop the run, they are listed in the run folder first."""
    try:
        return next(inputs)
    except BadSampleError:
        write_bad(folder.path, loader.bad.samples, rank=rank, add=True)
        raise
