"""Where a tokenizer run starts from, and how it takes its batches."""

from dataclasses import replace

from textok.data import BadSampleError, Batch, TrainLoader
from textok.data.samples import write_bad
from textok.display import note
from textok.models.tokenizer import TexTok
from textok.training.run_folder import RunFolder
from textok.training.tokenizer.config import TokenizerRun


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


def next_batch(loader: TrainLoader, folder: RunFolder, *, rank: int) -> Batch:
    """The next batch; when bad samples stop the run, they are listed in the run folder first."""
    try:
        return next(loader)
    except BadSampleError:
        write_bad(folder.path, loader.bad.samples, rank=rank, add=True)
        raise
