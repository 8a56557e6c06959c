"""Captions by many processes: each block of pictures has a journal of its own, which that of the folder takes in."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from textok.captioning import CaptionConfig
from textok.captioning.journal import CAPTIONS, REJECTED, Journal, read_rows
from textok.captioning.prompting import load_prompt
from textok.captioning.run import CaptionRun
from textok.captioning.writers import open_writer
from textok.data.config import DataConfig
from textok.data.samples import BadSample, SourceSubset, write_bad
from textok.display import Progress
from textok.pipeline.precision import torch_device
from textok.pipeline.stopping import StopRequest
from textok.scale import Engine


class BlockCaptioner:
    """Captions one block of pictures after another, in a process of its own.

    Args:
        folder: of the whole run; pictures that have their verdict there are not asked about.
        reading: how the pictures are read.
        config: what is asked and what is accepted.
        blocks: the places of the pictures of each block.
        accept_changes: as in :class:`textok.captioning.run.CaptionRun`.
    """

    def __init__(
        self,
        folder: Path,
        reading: DataConfig,
        config: CaptionConfig,
        blocks: Sequence[range],
        *,
        accept_changes: bool,
    ) -> None:
        self._folder, self._reading, self._blocks = folder, reading, blocks
        self._accept_changes = accept_changes
        self._config = replace(config, device=str(torch_device(config.device)))
        self._source, self._prompt = reading.open(all_parts=True), load_prompt(config.prompt)
        self._writer = open_writer(self._config)
        rows = (row for name in (CAPTIONS, REJECTED) for row in read_rows(folder / name))
        self._done = {(row["key"], row["number"]): row.get("picture", "") for row in rows}

    def __call__(self, number: int) -> dict[str, Any]:
        """Caption a block into its own folder; returns the pictures that cannot be read."""
        writer = self._writer
        if self._config.writer == "openai":  # its connections end with a run
            writer = open_writer(self._config)
        places, folder = self._blocks[number], block_folder(self._folder, number)
        with Journal(folder, self._config, model=writer.model, prompt=self._prompt) as journal:
            journal.done |= self._done
            left_out = CaptionRun(
                source=SourceSubset(self._source, places),
                data=self._reading,
                config=self._config,
                writer=writer,
                prompt=self._prompt,
                journal=journal,
                stop=StopRequest(None),
                accept_changes=self._accept_changes,
            ).run(len(places))
        return {"left_out": [vars(bad) for bad in left_out]}


def block_folder(folder: Path, number: int) -> Path:
    """The journal of a block, until that of the folder has its rows."""
    return folder / ".blocks" / f"{number:06d}"


def caption_blocks(
    journal: Journal,
    reading: DataConfig,
    count: int,
    *,
    size: int,
    engine: Engine,
    stop: StopRequest,
    accept_changes: bool = False,
) -> list[BadSample]:
    """Caption the first ``count`` pictures in blocks of ``size``; returns those that cannot be read.

    Of two pictures of one key in different blocks the journal keeps the first verdict.
    """
    blocks = [range(first, min(first + size, count)) for first in range(0, count, size)]
    folder, config = journal.folder, journal.config
    make = partial(BlockCaptioner, folder, reading, config, blocks, accept_changes=accept_changes)
    left_out = list[BadSample]()
    with Progress(count, unit="image") as progress:
        for number, known in engine(make, range(len(blocks))):
            journal.take(block_folder(journal.folder, number))
            shutil.rmtree(block_folder(journal.folder, number))
            left_out += [BadSample(**bad) for bad in known["left_out"]]
            progress.update(len(blocks[number]))
            if stop.asked:
                break
    write_bad(journal.folder, left_out)
    return left_out
