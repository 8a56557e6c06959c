"""The run: pictures of a source, asked about, judged and written down, until each has its captions or a reason."""

import asyncio
import hashlib
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from textok.captioning import CaptionConfig, load_prompt
from textok.captioning.journal import Journal, Row, read_verdicts
from textok.captioning.judging import Agreement, judge, printable
from textok.captioning.writers import Answer, Request, Writer, open_writer
from textok.data.config import BadSampleLedger, DataConfig
from textok.data.contents import HALF, changes_error, content_of
from textok.data.images import ImageError
from textok.data.samples import BadSample, BadSampleError, RawSample, Source, SourceSubset, write_bad
from textok.display import Progress
from textok.pipeline.precision import torch_device
from textok.pipeline.stopping import StopRequest
from textok.scale import Engine, Work

_THREADS = 4  # make pictures ready; Pillow lets go of the interpreter while it decodes
_NEXT_TEMPERATURE = 0.4  # at least, when the same words would come again


@dataclass(kw_only=True)
class _Job:
    """One caption that is wanted, and what is known of it so far."""

    sample: RawSample
    picture: Any
    started: float
    row: Row


@dataclass(kw_only=True)
class CaptionRun:
    """Captions the pictures of a source that the journal does not hold yet.

    Asked to ``stop``, it takes no more pictures and waits for the answers under way. Where a picture changed since, it
    keeps the captions with ``accept_changes``, and stops without. ``data`` has the policy for bad ones.
    """

    source: Source
    data: DataConfig
    writer: Writer
    journal: Journal
    stop: StopRequest
    accept_changes: bool = False

    def __post_init__(self) -> None:
        self._seen, self._reading = set[str](), threading.Lock()
        self.config, self._ledger = self.journal.config, BadSampleLedger(config=self.data)
        self._agreement = Agreement(self.config.contradiction) if self.config.contradiction else None

    def run(self, count: int) -> list[BadSample]:
        """Caption the first ``count`` pictures; returns those that cannot be read, which ``bad.jsonl`` lists.

        ``ValueError``: the writer cannot work, the money is out, or the policy stops at a bad picture. ``OSError``:
        the server is gone, or the disk is full.
        """
        indices = iter(range(count))
        try:
            asyncio.run(self._run(indices, Progress(count, unit="image")))
        except BaseExceptionGroup as group:
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            raise error from None
        if self._is_out_of_money() and next(indices, None) is not None:
            cost, captions = self.journal.spent["cost"], len(self.journal.done)
            raise ValueError(
                f"max_cost: got {self.config.max_cost:g}, and {cost:.4g} is spent on {captions} captions, expected "
                "more for the rest"
            )
        return self._ledger.samples

    async def _run(self, indices: Iterator[int], progress: Progress) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
        try:
            await self.writer.check()
            try:
                with progress:
                    async with asyncio.TaskGroup() as group:
                        for _ in range(self.writer.in_flight):
                            group.create_task(self._work(indices, progress))
            finally:
                write_bad(self.journal.folder, self._ledger.samples)
        finally:
            await self.writer.close()

    async def _work(self, indices: Iterator[int], progress: Progress) -> None:
        size = self.writer.batch_size
        while not self.stop.asked and not self._is_out_of_money():
            taken = [index for _, index in zip(range(size), indices, strict=False)]
            if not taken:
                return
            jobs = [job for index in taken for job in await self._jobs(index)]
            for start in range(0, len(jobs), size):
                await self._caption(jobs[start : start + size])
            progress.update(len(taken))

    def _is_out_of_money(self) -> bool:
        """Whether the limit is near: what is under way counts as what a caption cost on average."""
        if self.config.max_cost is None:
            return False
        cost = self.journal.spent["cost"]
        mean = cost / max(1, len(self.journal.done))
        return cost + self.writer.in_flight * mean >= self.config.max_cost

    async def _jobs(self, index: int) -> list[_Job]:
        self._ledger.seen += 1
        try:
            return await asyncio.to_thread(self._prepare, index)
        except BadSampleError as error:
            self._ledger.add(error.bad)
            return []

    def _prepare(self, index: int) -> list[_Job]:
        with self._reading:  # sources keep what they read last
            sample = self.source.read(index)
            self._check_key(sample)
        known, numbers = content_of(sample)[:HALF], range(self.config.captions_per_picture)
        rows = [Row(key=sample.key, number=i, picture=known) for i in numbers]
        rows = [row for row in rows if not self._is_done(row)]
        try:
            picture = self.writer.prepare(sample) if rows else None
        except ImageError as error:
            raise _bad(sample, str(error)) from error
        now = time.monotonic()
        return [_Job(sample=sample, picture=picture, started=now, row=row) for row in rows]

    def _is_done(self, row: Row) -> bool:
        before = self.journal.done.get((row.key, row.number))
        if before and before != row.picture and not self.accept_changes:
            remedy = "restore it, take another folder, or keep its captions by --accept-changes"
            raise changes_error(self.journal.folder, {row.key: "another picture"}, remedy=remedy)
        return before is not None

    def _check_key(self, sample: RawSample) -> None:
        if printable(sample.key) != sample.key:
            raise _bad(sample, "its key is not plain text")
        if sample.key in self._seen:
            raise _bad(sample, "an earlier picture has the same key")
        self._seen.add(sample.key)

    async def _caption(self, jobs: Sequence[_Job]) -> None:
        for ask in range(1, self.config.asks + 1):
            requests = [self._request(job, ask) for job in jobs]
            answers = await self.writer.write(requests)
            again = []
            for job, request, answer in zip(jobs, requests, answers, strict=True):
                job.row = replace(
                    job.row,
                    seed=request.seed,
                    temperature=request.temperature,
                    tokens_in=job.row.tokens_in + answer.tokens_in,
                    tokens_out=job.row.tokens_out + answer.tokens_out,
                    asks=ask,
                )
                is_last = ask == self.config.asks or not self.writer.varies or answer.failure is not None
                answer = await self._judge(job.sample, answer)
                if answer.failure is not None and not is_last:
                    again.append(job)
                else:
                    self._write_down(job, answer)
            jobs = again
            if not jobs:
                return

    def _request(self, job: _Job, ask: int) -> Request:
        known, temperature = self._known(job.sample), self.config.temperature
        text = f"{self.config.seed}:{job.sample.key}:{job.row.number}:{ask}"
        return Request(
            key=job.sample.key,
            picture=job.picture,
            prompt=self.journal.prompt.render(known),
            captions=job.sample.captions,
            seed=int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1,
            temperature=temperature if ask == 1 else max(temperature, _NEXT_TEMPERATURE),
        )

    def _known(self, sample: RawSample) -> tuple[str, ...]:
        if self.config.known == "captions":
            return sample.captions
        folder = PurePosixPath(sample.key).parent.name.replace("_", " ").replace("-", " ")
        return (folder,) if self.config.known == "folder" and folder else ()

    async def _judge(self, sample: RawSample, answer: Answer) -> Answer:
        if answer.failure is None:
            prompt = self.journal.prompt.render() if self.writer.varies else ""
            answer = judge(answer, prompt=prompt, language=self.config.language)
        known = self._known(sample) or sample.captions
        if answer.failure is not None or self._agreement is None or not known:
            return answer
        contradicts = await asyncio.to_thread(self._agreement.contradicts, answer.text, known)
        return replace(answer, failure="contradiction") if contradicts else answer

    def _write_down(self, job: _Job, answer: Answer) -> None:
        row = replace(
            job.row,
            caption=answer.text if answer.failure is None else printable(answer.text[:1000]),
            reason=answer.failure,
            changes=answer.changes,
            seconds=round(time.monotonic() - job.started, 3),
        )
        self.journal.add(row)


def _bad(sample: RawSample, reason: str) -> BadSampleError:
    return BadSampleError(BadSample(key=printable(sample.key), shard=sample.shard, reason=reason))


def caption_blocks(run: CaptionRun, count: int, *, size: int, engine: Engine) -> list[BadSample]:
    """What ``run.run(count)`` does, in blocks of ``size`` pictures on the workers of an engine.

    Each block has a journal of its own until that of the run takes its rows in, which keeps the first verdict of two
    pictures of one key in different blocks.
    """
    blocks = [range(first, min(first + size, count)) for first in range(0, count, size)]
    journal, accept = run.journal, run.accept_changes
    make = partial(_block_captioner, journal.folder, run.data, journal.config, blocks, accept_changes=accept)
    left_out = list[BadSample]()
    with Progress(count, unit="image") as progress:
        for number, known in engine(make, range(len(blocks))):
            journal.take(_block_folder(journal.folder, number))
            shutil.rmtree(_block_folder(journal.folder, number))
            left_out += [BadSample(**bad) for bad in known["left_out"]]
            progress.update(len(blocks[number]))
            if run.stop.asked:
                break
    write_bad(journal.folder, left_out)
    return left_out


def _block_captioner(
    folder: Path, data: DataConfig, config: CaptionConfig, blocks: Sequence[range], *, accept_changes: bool
) -> Work:
    """Captions one block after another, in a process of its own; returns the pictures that cannot be read."""
    config = replace(config, device=str(torch_device(config.device)))
    source, prompt, first = data.open(all_parts=True), load_prompt(config.prompt), open_writer(config)
    done = {(row["key"], row["number"]): row.get("picture", "") for row in read_verdicts(folder)}

    def work(number: int) -> dict[str, Any]:
        # The connections of a server's writer end with a run; the others keep their networks.
        writer = open_writer(config) if config.writer == "openai" else first
        own = _block_folder(folder, number)
        with Journal(own, config, model=writer.model, prompt=prompt) as journal:
            journal.done |= done
            run = CaptionRun(
                source=SourceSubset(source, blocks[number]),
                data=data,
                writer=writer,
                journal=journal,
                stop=StopRequest(None),
                accept_changes=accept_changes,
            )
            return {"left_out": [vars(bad) for bad in run.run(len(blocks[number]))]}

    return work


def _block_folder(folder: Path, number: int) -> Path:
    return folder / ".blocks" / f"{number:06d}"
