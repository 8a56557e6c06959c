"""Pictures for many prompts, in shards: the same command goes on where it was stopped, and writes the same bytes."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from textok.data import DataConfig
from textok.data.images import encode_png
from textok.data.records import first_captions
from textok.pipeline.generation import Pipeline
from textok.writing import replacing, strict_json, write_tar

SHARD = 1000
"""Pictures of a tar."""


def read_prompts(name: str, *, split: str | None = None, limit: int | None = None) -> list[str]:
    """Prompts, one for each line of a .txt file, key of a .json or .jsonl file, or picture of a data set.

    Of a picture with several captions the first is taken. ``ValueError`` for an empty prompt, none at all, or a split
    of a file.
    """
    path = Path(name)
    if path.suffix in (".txt", ".json", ".jsonl") and split is not None:
        raise ValueError(f"split: got {split!r} for a file of prompts, expected none")
    if path.suffix == ".txt":
        prompts = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    elif path.suffix in (".json", ".jsonl"):
        prompts = list(first_captions(path).values())
    else:
        source = DataConfig(source=name, split=split, size=(1, 1)).open()
        count = min(len(source), limit or len(source))
        prompts = [next(iter(source.read(index).captions), "") for index in range(count)]
    if not prompts:
        raise ValueError(f"prompts: got {name}, which holds none, expected at least one")
    empty = [number for number, prompt in enumerate(prompts, start=1) if not prompt.strip()]
    if empty:
        raise ValueError(f"prompts: got {name}, whose number {empty[0]} is empty, expected words for each")
    return prompts[:limit]


@dataclass(frozen=True, kw_only=True)
class BulkRun:
    """What is drawn, and how."""

    prompts: Sequence[str]
    num_images: int = 1  # of each prompt
    seed: int = 0
    batch_size: int = 16  # pictures depend on it by the rounding of the dtype
    tars: bool = False  # pack a thousand pictures into each file
    sampling: dict[str, Any] = field(default_factory=dict)  # further arguments of Pipeline

    def __len__(self) -> int:
        return len(self.prompts) * self.num_images

    def record(self, pipeline: Pipeline) -> str:
        """All that the bytes depend on, as one line of JSON."""
        words = hashlib.sha256("\0".join(self.prompts).encode()).hexdigest()
        facts = {"prompts": words, "models": [pipeline.model_id, pipeline.tokenizer.model_id]}
        facts |= {name: value for name, value in vars(self).items() if name != "prompts"}
        return strict_json(facts | {"dtype": str(pipeline.dtype)})


def generate_shards(
    pipeline: Pipeline, run: BulkRun, out: Path, *, rank: int = 0, count: int = 1
) -> Iterator[int]:
    """Draw what is not there yet: ``NUMBER.png``, which holds its settings, and ``NUMBER.txt``, its prompt.

    The folder is of this very run or new; of ``count`` processes each draws shards of its own. Yields the number of
    pictures of each shard that is there, drawn now or before.
    """
    size = SHARD if run.tars else run.batch_size
    for start in list(range(0, len(run), size))[rank::count]:
        end = min(start + size, len(run))
        tar = out / f"samples-{start // size:06d}.tar"
        files = [tar] if run.tars else [out / f"{index:08d}.png" for index in range(start, end)]
        if not all(file.is_file() for file in files):
            members = _draw(pipeline, run, start, end)
            if run.tars:
                write_tar(tar, members)
            else:
                for name, data in members:
                    with replacing(out / name) as temporary:
                        temporary.write_bytes(data)
        yield end - start


def _draw(pipeline: Pipeline, run: BulkRun, start: int, end: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files of some pictures: the prompt of each first, then the picture."""
    for first in range(start, end, run.batch_size):
        numbers = range(first, min(first + run.batch_size, end))
        prompts = [run.prompts[number // run.num_images] for number in numbers]
        options = run.sampling | {"first_index": first, "batch_size": run.batch_size}
        images = pipeline(prompts, generator=torch.Generator().manual_seed(run.seed), **options)
        for number, prompt, image in zip(numbers, prompts, images, strict=True):
            yield f"{number:08d}.txt", prompt.encode()
            yield f"{number:08d}.png", encode_png(image)
