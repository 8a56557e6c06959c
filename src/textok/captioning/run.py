"""The run: pictures of a source, asked about, judged and written down, until each has its captions or a reason."""

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from textok.captioning.agreement import Agreement
from textok.captioning.config import CaptionConfig
from textok.captioning.journal import Journal, Row
from textok.captioning.judging import Verdict, judge, printable
from textok.captioning.prompting import Prompt
from textok.captioning.writers.protocol import Answer, Request, Writer
from textok.data.config import BadSampleLedger, DataConfig
from textok.data.images import ImageError
from textok.data.samples import BadSample, BadSampleError, RawSample, write_bad
from textok.data.sources import Source
from textok.display import Progress
from textok.pipeline.stopping import StopRequest

_NONE_YET = Answer(text="")
_THREADS = 4  # make pictures ready; Pillow lets go of the interpreter while it decodes
_SAME_KEY = "an earlier picture has the same key"
_NEXT_TEMPERATURE = 0.4  # at least, when the same words would come again


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One caption that is wanted; ``answer`` is the last one, with the tokens of all."""

    sample: RawSample
    number: int
    picture: Any
    started: float
    answer: Answer = _NONE_YET


@dataclass(kw_only=True)
class CaptionRun:
    """Captions the pictures of a source that the journal does not hold yet.

    Attributes:
        source: the pictures.
        data: the policy for bad ones.
        config: what is asked and what is accepted.
        writer: who writes.
        prompt: the words to ask with.
        journal: where verdicts go.
        stop: asked to stop, the run takes no more pictures and waits for the answers under way.
    """

    source: Source
    data: DataConfig
    config: CaptionConfig
    writer: Writer
    prompt: Prompt
    journal: Journal
    stop: StopRequest
    _seen: set[str] = field(default_factory=set, init=False)
    _reading: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self._ledger = BadSampleLedger(config=self.data)
        self._agreement = Agreement(self.config.contradiction) if self.config.contradiction else None

    def run(self, count: int) -> None:
        """Caption the first ``count`` pictures.

        Raises:
            ValueError: when the writer cannot work, a picture is bad and the policy is to stop, or the money is out.
            OSError: when the server is gone or the disk is full.
        """
        indices = iter(range(count))
        try:
            asyncio.run(self._run(indices, Progress(count, unit="image")))
        except BaseExceptionGroup as group:
            raise _first(group) from None
        if self._is_out_of_money() and next(indices, None) is not None:
            spent = f"{self.journal.cost:.4g} is spent on {len(self.journal.done)} captions"
            raise ValueError(
                f"max_cost: got {self.config.max_cost:g}, and {spent}, expected more for the rest"
            )

    async def _run(self, indices: Iterator[int], progress: Progress) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
        try:
            await self.writer.check()
            with progress:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self.writer.in_flight):
                        group.create_task(self._work(indices, progress))
        finally:
            write_bad(self.journal.folder, self._ledger.samples)
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
        mean = self.journal.cost / max(1, len(self.journal.done))
        return self.journal.cost + self.writer.in_flight * mean >= self.config.max_cost

    # --- pictures -------------------------------------------------------------------------------------------

    async def _jobs(self, index: int) -> list[_Job]:
        """The captions that the picture at ``index`` lacks; one that cannot be read is written down as bad."""
        self._ledger.seen += 1
        try:
            sample = await asyncio.to_thread(self._read, index)
            self._check_key(sample)
            wanted = range(self.config.captions_per_picture)
            missing = [number for number in wanted if (sample.key, number) not in self.journal.done]
            picture = await asyncio.to_thread(self._prepare, sample) if missing else None
        except BadSampleError as error:
            self._ledger.add(error.bad)
            if error.bad.reason != _SAME_KEY and (error.bad.key, 0) not in self.journal.done:
                self.journal.add(Row(key=error.bad.key, reason=f"bad picture: {error.bad.reason}"))
            return []
        now = time.monotonic()
        return [_Job(sample=sample, number=number, picture=picture, started=now) for number in missing]

    def _read(self, index: int) -> RawSample:
        with self._reading:  # sources keep what they read last
            return self.source.read(index)

    def _check_key(self, sample: RawSample) -> None:
        if printable(sample.key) != sample.key:
            raise _bad(sample, "its key is not plain text")
        if sample.key in self._seen:
            raise _bad(sample, _SAME_KEY)
        self._seen.add(sample.key)

    def _prepare(self, sample: RawSample) -> Any:
        try:
            return self.writer.prepare(sample)
        except ImageError as error:
            raise _bad(sample, str(error)) from error

    # --- captions -------------------------------------------------------------------------------------------

    async def _caption(self, jobs: Sequence[_Job]) -> None:
        """Ask about pictures until each has a verdict."""
        for ask in range(1, self.config.asks + 1):
            requests = [self._request(job, ask) for job in jobs]
            answers = await self.writer.write(requests)
            again = []
            for job, request, answer in zip(jobs, requests, answers, strict=True):
                job = replace(job, answer=_with_tokens_of(job.answer, answer))
                verdict = await self._judge(job)
                is_last = ask == self.config.asks or not self.writer.varies or answer.failure is not None
                if verdict.caption is None and not is_last:
                    again.append(job)
                else:
                    self._write_down(job, request, verdict=verdict, asks=ask)
            jobs = again
            if not jobs:
                return

    def _request(self, job: _Job, ask: int) -> Request:
        known, temperature = self._known(job.sample), self.config.temperature
        text = f"{self.config.seed}:{job.sample.key}:{job.number}:{ask}"
        return Request(
            key=job.sample.key,
            picture=job.picture,
            prompt=self.prompt.render(known),
            captions=job.sample.captions,
            seed=int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1,
            temperature=temperature if ask == 1 else max(temperature, _NEXT_TEMPERATURE),
        )

    def _known(self, sample: RawSample) -> tuple[str, ...]:
        if self.config.known == "captions":
            return sample.captions
        folder = PurePosixPath(sample.key).parent.name.replace("_", " ").replace("-", " ")
        return (folder,) if self.config.known == "folder" and folder else ()

    async def _judge(self, job: _Job) -> Verdict:
        answer = job.answer
        if answer.failure is not None:
            return Verdict(caption=None, reason=answer.failure)
        prompt = self.prompt.render() if self.writer.varies else ""
        verdict = judge(answer.text, finish=answer.finish, prompt=prompt, language=self.config.language)
        known = self._known(job.sample) or job.sample.captions
        if verdict.caption is None or self._agreement is None or not known:
            return verdict
        contradicts = await asyncio.to_thread(self._agreement.contradicts, verdict.caption, known)
        return replace(verdict, caption=None, reason="contradiction") if contradicts else verdict

    def _write_down(self, job: _Job, request: Request, *, verdict: Verdict, asks: int) -> None:
        answer = job.answer
        self.journal.add(
            Row(
                key=job.sample.key,
                number=job.number,
                caption=printable(answer.text[:1000]) if verdict.caption is None else verdict.caption,
                reason=verdict.reason,
                changes=(*answer.changes, *verdict.changes),
                seed=request.seed,
                temperature=request.temperature,
                tokens_in=answer.tokens_in,
                tokens_out=answer.tokens_out,
                asks=asks,
                seconds=round(time.monotonic() - job.started, 3),
            )
        )


def _with_tokens_of(before: Answer, answer: Answer) -> Answer:
    return replace(
        answer,
        tokens_in=before.tokens_in + answer.tokens_in,
        tokens_out=before.tokens_out + answer.tokens_out,
    )


def _bad(sample: RawSample, reason: str) -> BadSampleError:
    return BadSampleError(BadSample(key=printable(sample.key), shard=sample.shard, reason=reason))


def _first(group: BaseException) -> BaseException:
    return _first(group.exceptions[0]) if isinstance(group, BaseExceptionGroup) else group
