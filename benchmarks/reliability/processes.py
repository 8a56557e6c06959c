"""Commands in forked children of a process that has imported everything: a run costs its work, not the imports.

A child counts what it does to files (openings for writing, renames, removals, new folders), so that a fault can strike
at exactly the n-th of these moments, as well as at a time.
"""

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textok.cli import encode, main

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "shutil.rmtree"}
_COUNT = "moments: "
PATIENCE = 120.0
"""Seconds after which a command counts as hanging."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What strikes a command.

    Attributes:
        moment: the change of files at which ``strike`` is called, from 1; 0 for never.
        strike: called in the child.
        delay: seconds after which the signal is sent; None for never.
        number: the signal.
        limits: of resources, as for ``resource.setrlimit``.
    """

    moment: int = 0
    strike: Callable[[], object] | None = None
    delay: float | None = None
    number: int = signal.SIGKILL
    limits: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: the exit code, or minus the number of the signal.
        out, err: what it printed.
        seconds: how long it took.
        moments: changes of files that it counted; 0 when it was killed.
        hung: whether it was killed at last because it did not end.
    """

    code: int
    out: str
    err: str
    seconds: float
    moments: int
    hung: bool = False

    @property
    def told(self) -> str:
        """The last line on stderr, which is the error's."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        return lines[-1] if lines else ""


NO_FAULT = Fault()


class Child:
    """A command in a process of its own, which runs until ``wait``.

    Args:
        words: the words after ``textok``.
        folder: where it runs; its output goes to hidden files there.
        fault: what strikes it.
        patience: seconds after which it counts as hanging.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        folder: Path,
        fault: Fault = NO_FAULT,
        patience: float = PATIENCE,
    ) -> None:
        self.fault, self.patience, self._started = fault, patience, time.perf_counter()
        sys.stdout.flush(), sys.stderr.flush()
        self._files = [os.memfd_create(name) for name in ("out", "err")]
        self.pid = os.fork()
        if not self.pid:
            _run(words, folder, fault, self._files)

    def wait(self) -> Outcome:
        """The outcome; sends the signal of the fault, and kills what does not end."""
        due = self.patience if self.fault.delay is None else self.fault.delay
        hung, state = False, self._until(due)
        if state is None and self.fault.delay is not None:
            os.kill(self.pid, self.fault.number)
            state = self._until(self.fault.delay + self.patience)
        if state is None:
            hung = True
            os.kill(self.pid, signal.SIGKILL)
            state = os.waitpid(self.pid, 0)[1]
        seconds = time.perf_counter() - self._started
        out, err = map(_content, self._files)
        err, _, count = err.rpartition(_COUNT) if _COUNT in err else (err, "", "0")
        code = os.waitstatus_to_exitcode(state)
        return Outcome(code=code, out=out, err=err, seconds=seconds, moments=int(count), hung=hung)

    def _until(self, due: float) -> int | None:
        while time.perf_counter() - self._started < due:
            pid, state = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return state
            time.sleep(0.002)
        return None


def run(words: Sequence[str], *, folder: Path, fault: Fault = NO_FAULT) -> Outcome:
    """Run a command in a child until it ends."""
    return Child(words, folder=folder, fault=fault).wait()


def _content(handle: int) -> str:
    with open(handle, "rb") as file:
        file.seek(0)
        return file.read().decode(errors="replace")


def _run(words: Sequence[str], folder: Path, fault: Fault, files: list[int]) -> None:
    code = 70
    try:
        for handle, target in zip(files, (1, 2), strict=True):
            os.dup2(handle, target)
        sys.stdout, sys.stderr = (os.fdopen(handle, "w", closefd=False) for handle in (1, 2))
        _settle(folder)
        sys.argv = ["textok", *words]
        for limit, value in fault.limits:
            resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))
        moments = _Moments(fault)
        sys.addaudithook(moments.see)
        code = main(words)
        moments.off = True
        sys.stderr.write(f"{_COUNT}{moments.count}")
    except BaseException:  # what main lets through is a bug, and its traceback is looked for
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _settle(folder: Path) -> None:
    os.chdir(folder)
    os.environ |= {"XDG_CACHE_HOME": str(folder.parent / "home"), "TQDM_DISABLE": "1"}
    vars(encode)["PART_PICTURES"] = 8  # so that a few pictures are several parts


class _Moments:
    def __init__(self, fault: Fault) -> None:
        self.fault, self.count, self.off, self.pid = fault, 0, False, os.getpid()

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Count a change of files, and strike at the one that was asked for."""
        writes = event in _CHANGES or (event == "open" and bool((arguments[2] or 0) & _WRITES))
        if self.off or not writes or self.pid != os.getpid():  # workers are children of their own
            return
        self.count += 1
        if self.count == self.fault.moment and self.fault.strike is not None:
            self.off = True
            self.fault.strike()


def die(number: int = signal.SIGKILL) -> Callable[[], None]:
    """A strike that sends the process a signal."""
    return lambda: os.kill(os.getpid(), number)
