"""Decoding ahead of use: jobs of sample numbers go to workers, decoded samples come back in order."""

import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from textok.data.config import DataConfig, read_sample
from textok.data.samples import BadSample, BadSampleError, Sample, Source


@dataclass(frozen=True)
class DecodedJob:
    """What a worker hands back: all pixels in one tensor (one transfer between processes), and the rest.

    Attributes:
        pixels: (n, 3, h, w), the pictures of the good samples.
        others: by number what else there is of each sample, in the order of ``pixels``, or why it is a bad one.
    """

    pixels: UInt8[Tensor, "n 3 h w"]
    others: dict[int, dict[str, Any] | BadSample]

    def samples(self) -> dict[int, Sample | BadSample]:
        """Every sample of the job by its number."""
        images = iter(self.pixels)
        return {
            index: one if isinstance(one, BadSample) else Sample(image=next(images), **one)
            for index, one in self.others.items()
        }


class JobDecoder(Dataset):
    """Reads and decodes a job (a list of sample numbers); runs in worker processes, keeps nothing."""

    def __init__(self, source: Source, config: DataConfig) -> None:
        self._source, self._config = source, config

    def __getitem__(self, job: list[int]) -> DecodedJob:
        pixels, others = [torch.empty(0, 3, *self._config.size, dtype=torch.uint8)], {}
        for index in job:
            try:
                others[index] = dict(vars(read_sample(self._source, index, self._config)))
                pixels.append(others[index].pop("image")[None])
            except BadSampleError as error:
                others[index] = error.bad
        return DecodedJob(torch.cat(pixels), others)


def decode_ahead(
    source: Source, config: DataConfig, jobs: Iterable[list[int]]
) -> Iterator[dict[int, Sample | BadSample]]:
    """Decode jobs in order, in ``config.workers`` processes (0: here, when asked for).

    ``jobs`` is read in this process, a few jobs ahead of the results.
    """
    loader = DataLoader(
        JobDecoder(source, config),
        sampler=jobs,
        batch_size=None,  # a job is one item: no collation
        num_workers=config.workers,
        worker_init_fn=_leave_interrupts_to_the_parent,
        generator=torch.Generator(),  # keeps the DataLoader away from the global random state
    )
    return (decoded.samples() for decoded in loader)


def _leave_interrupts_to_the_parent(_worker: int) -> None:
    # Ctrl-C reaches the whole process group; the parent must still get its batches while it saves and stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
