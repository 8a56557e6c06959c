"""Decoding ahead of use, by workers and in order; and all pictures of a split decoded once into one array on disk."""

import fcntl
import hashlib
import json
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from textok.data.config import DataConfig, read_sample
from textok.data.samples import BadSample, BadSampleError, Sample, Source
from textok.display import with_progress
from textok.writing import check_target, replacing

_PIXELS, _SAMPLES = "pixels.npy", "samples.jsonl"
_JOB = 256  # samples that a worker decodes at a time


class _Jobs(Dataset):
    """Reads and decodes a job (a list of sample numbers); runs in worker processes, keeps nothing."""

    def __init__(self, source: Source, config: DataConfig) -> None:
        self._source, self._config = source, config

    def __getitem__(
        self, job: list[int]
    ) -> tuple[UInt8[Tensor, "n 3 h w"], dict[int, dict[str, Any] | BadSample]]:
        """All pixels in one tensor (one transfer between processes), and by number the rest, or what is bad."""
        pixels, others = [torch.empty(0, 3, *self._config.size, dtype=torch.uint8)], {}
        for index in job:
            try:
                others[index] = dict(vars(read_sample(self._source, index, self._config)))
                pixels.append(others[index].pop("image")[None])
            except BadSampleError as error:
                others[index] = error.bad
        return torch.cat(pixels), others


def decode_ahead(
    source: Source, config: DataConfig, jobs: Iterable[list[int]]
) -> Iterator[dict[int, Sample | BadSample]]:
    """Decode jobs in order, in ``config.workers`` processes (0: here); jobs are drawn here, a few ahead of results."""
    loader = DataLoader(
        _Jobs(source, config),
        sampler=jobs,
        batch_size=None,  # a job is one item
        collate_fn=tuple,  # which it is already: the default one would make lists of all that is in it
        num_workers=config.workers,
        worker_init_fn=_leave_interrupts_to_the_parent,
        generator=torch.Generator(),  # keeps the DataLoader away from the global random state
    )
    for pixels, others in loader:
        images = iter(pixels)
        yield {
            index: one if isinstance(one, BadSample) else Sample(image=next(images), **one)
            for index, one in others.items()
        }


def _leave_interrupts_to_the_parent(_worker: int) -> None:
    # Ctrl-C reaches the whole process group; the parent must still get its batches while it saves and stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class ResidentStore:
    """Decoded samples of a folder that ``decode_split`` wrote, by their number; their pixels in one tensor on a device.

    The array is memory-mapped: on a CPU only what is read enters memory.
    """

    def __init__(self, folder: Path, *, device: torch.device | str = "cpu") -> None:
        # mode c: torch wants an array that may be written; nothing writes to it
        array = np.load(folder / _PIXELS, mmap_mode="c")
        self.pixels: UInt8[Tensor, "n 3 h w"] = torch.from_numpy(array).to(device)
        self._heads = [json.loads(line) for line in (folder / _SAMPLES).read_text().splitlines()]

    def __contains__(self, index: int) -> bool:
        return 0 <= index < len(self._heads)

    def __getitem__(self, index: int) -> Sample | BadSample:
        head = self._heads[index]
        if "reason" in head:
            return BadSample(**head)
        return Sample(image=self.pixels[index], **head | {"captions": tuple(head["captions"])})


def decode_split(source: Source, config: DataConfig, folder: str | Path) -> Path:
    """Decode a split with ``config.workers`` processes into a folder of its own, unless it is there already.

    It lies in ``folder``, which holds any number of splits and sizes. Of several processes that ask for the same split
    one decodes it, and the others wait. What a kill leaves there is written anew. ``ValueError`` for a source of
    pictures without end, ``OSError`` when the disk has no room for it.
    """
    if source.max_window == 0:
        raise ValueError(
            f"data.resident: got {config.source}, which has no end; name a number, as in scenes:count=100000"
        )
    read_by = (config.size, config.resample, config.require_captions, config.max_pixels)
    name = hashlib.blake2b(f"{source.fingerprint}/{read_by}".encode(), digest_size=8).hexdigest()
    final = Path(folder) / f"{len(source)}-{config.size[0]}px-{name}"
    final.mkdir(parents=True, exist_ok=True)
    with (final / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # which ends when the file is closed, or its process is gone
        if not (final / _SAMPLES).is_file():  # which gets its name last
            size = 3 * len(source) * config.size[0] * config.size[1]
            check_target(final, option="data.resident", overwrite=True, num_bytes=size)
            with replacing(final / _SAMPLES) as samples, replacing(final / _PIXELS) as pixels:
                _decode_into(pixels, samples, source, config)
    return final


def _decode_into(pixel_file: Path, sample_file: Path, source: Source, config: DataConfig) -> None:
    count = len(source)
    shape = (count, 3, *config.size)
    pixels = np.lib.format.open_memmap(pixel_file, mode="w+", dtype=np.uint8, shape=shape)
    jobs = [list(range(start, min(start + _JOB, count))) for start in range(0, count, _JOB)]
    decoded = decode_ahead(source, config, jobs)
    title = f"decode {count:,} pictures"
    with sample_file.open("w") as file:
        for samples in with_progress(decoded, len(jobs), unit="job", title=title):
            for row, sample in sorted(samples.items()):
                facts = dict(vars(sample))
                if isinstance(sample, Sample):
                    pixels[row] = facts.pop("image").numpy()
                file.write(json.dumps(facts) + "\n")
    pixels.flush()
