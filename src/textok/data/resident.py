"""All pictures of a split, decoded once into one array on disk, which a training holds on its device."""

import fcntl
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from textok.data.config import DataConfig
from textok.data.decoding import decode_ahead
from textok.data.samples import BadSample, Sample, Source
from textok.display import with_progress
from textok.writing import check_target, replacing

_PIXELS, _SAMPLES = "pixels.npy", "samples.jsonl"
_JOB = 256  # samples that a worker decodes at a time


class ResidentStore:
    """Decoded samples of a folder that ``decode_split`` wrote, by their number; their pixels in one tensor on a device.

    The array is memory-mapped: on a CPU only what is read enters memory.
    """

    def __init__(self, folder: Path, *, device: torch.device | str = "cpu") -> None:
        # mode c: torch wants an array that may be written; nothing writes to it
        array = np.load(folder / _PIXELS, mmap_mode="c")
        self.pixels: UInt8[Tensor, "n 3 h w"] = torch.from_numpy(array).to(device)
        self._heads = [json.loads(line) for line in (folder / _SAMPLES).read_text().splitlines()]

    def __len__(self) -> int:
        return len(self._heads)

    def __contains__(self, index: int) -> bool:
        return 0 <= index < len(self)

    def __getitem__(self, index: int) -> Sample | BadSample:
        head = self._heads[index]
        if "reason" in head:
            return BadSample(**head)
        return Sample(image=self.pixels[index], **head | {"captions": tuple(head["captions"])})


def decode_split(source: Source, config: DataConfig, folder: str | Path) -> Path:
    """Decode a split with ``config.workers`` processes into a folder of its own, unless it is there already.

    Of several processes that ask for the same split one decodes it, and the others wait.

    Args:
        source: the split.
        config: size of the pictures, and how they are read.
        folder: for any number of splits and sizes.

    Returns:
        The folder of this split; what a kill leaves there is written anew.

    Raises:
        ValueError: for a source of pictures without end.
        OSError: when the disk has no room for it.
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
