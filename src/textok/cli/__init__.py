"""The command line: one module per command, and ``main``, which reports the mistakes of users in one line."""

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from safetensors import SafetensorError

from textok import __version__
from textok.cli.table import find, groups, load, overview

HELP_WORDS = ([], ["-h"], ["--help"])
# Wrong values, missing files, a full disk, a diverged training. Everything else is a bug and shows its traceback.
MISTAKES = (ValueError, OSError, FloatingPointError, SafetensorError)
_MACHINE = ("allocate memory", "out of memory", "start new thread", "DataLoader worker", "process pool")
"""Words of the RuntimeErrors that torch and Python raise where memory is short or a worker process was ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, given by the words after ``textok``, which are those of the process when None.

    Returns the exit code: 0 done, 1 the reader of the output went away, 2 a mistake of the user (one line on stderr),
    130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    threading.excepthook = _hook_of_threads
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal in ASCII gets what it cannot show spelled out
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _telling_interrupts():
            _run(words)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # such as head; Python would write the rest at exit, and fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (*MISTAKES, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in _MACHINE):
            raise
        from textok.display import note  # only now: it imports tqdm

        reason = _sentence(error)
        if not isinstance(error, MISTAKES):
            advice = "start the same command again, with more memory or smaller batches"
            reason = f"{reason or 'out of memory'}; {advice}"
        note(f"error: {reason}")
        return 2
    except KeyboardInterrupt:
        if argv is None:  # the process ends: a second one must not meet the end of the interpreter
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("textok: interrupted", file=sys.stderr)
        return 130
    except SystemExit as stop:  # how tyro ends after --help (0 or None) and after a wrong option (2)
        return int(stop.code or 0)


@contextmanager
def _telling_interrupts() -> Iterator[None]:
    """Where a SIGINT came, an error is an interrupt: torch turns one inside a call into an error of its own."""
    came = list[int]()

    def interrupt(number: int, _frame: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    in_main = threading.current_thread() is threading.main_thread()
    is_default = in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_default:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception as error:
        if came:
            raise KeyboardInterrupt from error
        raise
    finally:
        if is_default:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _hook_of_threads(failure: threading.ExceptHookArgs) -> None:
    """Leave mistakes to the main thread, which meets them too: tensorboard writes its events in a thread."""
    if not isinstance(failure.exc_value, MISTAKES):
        threading.__excepthook__(failure)


def _run(words: list[str]) -> None:
    if words == ["--version"]:
        print(f"open-textok {__version__}")
    elif words in HELP_WORDS:
        print(overview())
    elif words[0] in groups() and words[1:] in HELP_WORDS:
        print(overview(words[0]))
    else:
        name, rest = find(words)
        # Imported only now: the help texts need none of these.
        with import_module("textok.display").waiting("loading"):
            command, parsing = load(name, rest), import_module("textok.cli.parsing")
        parsing.run(command, rest, prog=f"textok {name}")


def _sentence(error: Exception) -> str:
    """The message in one line; of an error of the system the file and what is wrong with it."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return " ".join(str(error).split())
