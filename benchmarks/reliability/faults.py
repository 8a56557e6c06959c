"""What strikes a command, and what must be true afterwards: each function gives what went wrong, [] for nothing."""

import contextlib
import errno
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.reliability.commands import Workplace
from benchmarks.reliability.processes import Child, Fault, Outcome, die

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_BLOCK = 4096


def kill(place: Workplace, draws: random.Random, number: int) -> list[str]:
    """Kill it at a time or at a change of files; the same command must then finish with the reference's bytes."""
    place.clear()
    chosen = SIGNALS[number % len(SIGNALS)]
    if number % 2:
        fault = Fault(delay=draws.uniform(0, place.whole.seconds), number=chosen)
    else:
        fault = Fault(moment=draws.randint(1, place.whole.moments), strike=die(chosen))
    first = place.run(fault=fault)
    wrong = [f"damaged: {name}" for name in place.damage()]
    if chosen == signal.SIGINT:
        wrong += _clean(first, (0, 130))
    return _named(f"{chosen.name} at {fault.moment or fault.delay}", wrong + _finishes(place))


def fill_disk(place: Workplace, draws: random.Random) -> list[str]:
    """Fill the disk that it writes to at a change of files: one line that names a file, and room brings the bytes."""
    with small_disk(place.folder):
        place.clear()
        moment, left = draws.randint(1, place.whole.moments), draws.choice((0, 1, 3, 9)) * _BLOCK
        ballast = place.folder / "ballast"
        first = place.run(fault=Fault(moment=moment, strike=lambda: _fill(ballast, left)))
        wrong = _refused(first, place, errno.ENOSPC)
        ballast.unlink(missing_ok=True)
        return _named(f"disk full at {moment}, {left} left", wrong + _finishes(place))


def limit_files(place: Workplace, size: int) -> list[str]:
    """Limit the size of files: as for a full disk."""
    place.clear()
    first = place.run(fault=Fault(limits=((resource.RLIMIT_FSIZE, size),)))
    return _named(f"files of {size} bytes at most", _refused(first, place, errno.EFBIG) + _finishes(place))


def start_twice(place: Workplace, draws: random.Random) -> list[str]:
    """Start it twice: one is refused, or they come one after the other; the bytes are the reference's."""
    place.clear()
    children = [Child(place.command.words, folder=place.folder)]
    time.sleep(draws.choice((0.0, draws.uniform(0, place.whole.seconds / 2))))
    children.append(Child(place.command.words, folder=place.folder))
    outcomes = [child.wait() for child in children]
    wrong = []
    for outcome in outcomes:
        refused = outcome.code == 2 and "another process" in outcome.told
        wrong += [] if outcome.code == 0 or refused else [f"{outcome.code}: {outcome.told}"]
    if all(outcome.code for outcome in outcomes):
        wrong.append("both were refused")
    return _named("two at once", wrong + [f"afterwards {name}" for name in place.differences()])


def limit_memory(place: Workplace, size: int) -> list[str]:
    """Limit the memory: one line, and the same command finishes without the limit."""
    place.clear()
    first = place.run(fault=Fault(limits=((resource.RLIMIT_AS, size),)))
    wrong = [] if first.code == 0 else _clean(first, (2,))
    return _named(f"{size >> 20} MiB of memory at most", wrong + _finishes(place))


def lose_worker(place: Workplace, draws: random.Random) -> list[str]:
    """Kill one of its worker processes: one line or done; the same command finishes."""
    place.clear()
    moment = draws.randint(1, place.whole.moments)
    first = place.run(fault=Fault(moment=moment, strike=lambda: _kill_child(draws)))
    return _named(f"a worker killed at {moment}", _clean(first, (0, 2)) + _finishes(place))


def _kill_child(draws: random.Random) -> None:
    children = multiprocessing.active_children()
    if children:
        os.kill(draws.choice(children).pid or 0, signal.SIGKILL)
        time.sleep(0.05)


def lose_source(place: Workplace, draws: random.Random, spoil: Callable[[Path], object]) -> list[str]:
    """Take a picture away while it works, or spoil it: refused by its name or done; back again it finishes.

    A command that was done is not compared: a training takes its latent statistics from the pictures that are there.
    """
    place.clear()
    victim = draws.choice(sorted((place.root / "in" / "pictures").glob("*.png")))
    content, times = victim.read_bytes(), victim.stat()
    moment = draws.randint(1, place.whole.moments)
    try:
        first = place.run(fault=Fault(moment=moment, strike=lambda: spoil(victim)))
    finally:
        victim.unlink(missing_ok=True)
        victim.write_bytes(content)
        os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    if first.code == 0:
        return []
    wrong = _clean(first, (2,))
    if victim.stem not in first.told:
        wrong.append(f"the picture is not named: {first.told}")
    return _named(f"{victim.name} lost at {moment}", wrong + _finishes(place))


def remove(picture: Path) -> None:
    """Take a picture away."""
    picture.unlink()


def cut(picture: Path) -> None:
    """Leave the first part of a picture."""
    picture.write_bytes(picture.read_bytes()[:700])


# --- what must be true --------------------------------------------------------------------------------------


def _finishes(place: Workplace) -> list[str]:
    outcome = place.run()
    wrong = _clean(outcome, (0,))
    return wrong + [f"afterwards {name}" for name in place.differences()]


def _clean(outcome: Outcome, codes: tuple[int, ...]) -> list[str]:
    wrong = ["it hung"] if outcome.hung else []
    if outcome.code not in codes:
        wrong.append(f"exit {outcome.code}, expected {codes}: {outcome.told}")
    if "Traceback" in outcome.err:
        wrong.append(f"a traceback: {outcome.told}")
    return wrong


def _refused(outcome: Outcome, place: Workplace, number: int) -> list[str]:
    """A command that met its fault ends in one line with a file and the reason, leaves no debris and no damage."""
    wrong = [f"damaged: {name}" for name in place.damage()] + _clean(outcome, (0, 2))
    if outcome.code == 2:
        wrong += [f"left behind: {name}" for name in place.debris()]
        told = outcome.told.lower()
        reasons = (os.strerror(number).lower(), "are free")
        if not any(reason in told for reason in reasons) or place.command.out not in told:
            wrong.append(f"names no file or no reason: {outcome.told}")
    return wrong


def _named(what: str, wrong: list[str]) -> list[str]:
    return [f"{what}: {one}" for one in wrong]


# --- small disks --------------------------------------------------------------------------------------------


def can_mount() -> bool:
    """Whether a small disk can be mounted here."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder) / "disk"):
                return True
        except (OSError, subprocess.SubprocessError):
            return False


@contextmanager
def small_disk(folder: Path, *, megabytes: int = 24) -> Iterator[None]:
    """A disk in memory in the place of the folder, which goes at the end with what is on it."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    subprocess.run(["mount", *options], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


def _fill(ballast: Path, left: int) -> None:
    with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * (1 << 20)):  # the last one is cut short where the disk ends
            pass
    with open(ballast, "r+b") as file:
        file.truncate(max(0, ballast.stat().st_size - left))
