"""What a terminal shows: names and captions that cannot command it, and progress that nothing can depend on."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def printable(text: str) -> str:
    """The text in one line: control characters, newlines, lone surrogates and the like are spelled out.

    File names and captions come from strangers, and a terminal would obey the escape sequences in them.
    """
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def note(message: str) -> None:
    """Print one line on stderr, which is for the person and not for the next program."""
    print(f"textok: {printable(message)}", file=sys.stderr)


def _silenced() -> bool:
    return os.environ.get("TQDM_DISABLE", "") not in ("", "0")


@contextmanager
def waiting(message: str) -> Iterator[None]:
    """Say on a terminal what takes a few seconds, and take the line away afterwards; elsewhere say nothing."""
    shown = sys.stderr.isatty() and not _silenced()
    if shown:
        print(f"textok: {printable(message)} ...", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class Progress:
    """A progress bar on stderr, for a total that may be unknown. It cannot be read: the work is the same without one.

    The environment variable TQDM_DISABLE and a stderr that is closed turn it off, as does ``shown``.
    """

    def __init__(self, total: int | None, *, unit: str, title: str = "", shown: bool = True) -> None:
        hidden = not shown or _silenced()  # tqdm reads the variable by default only
        title = printable(title)
        # At a position: a bar that an error left open would make tqdm move the cursor.
        self._bar = tqdm(total=total, unit=unit, desc=title or None, disable=hidden, position=0)

    def expect(self, total: int) -> None:
        """There are so many to do, which was not known at first: from now on the bar tells the time left."""
        self._bar.total = total

    def update(self, count: int = 1) -> None:
        """So much more is done."""
        self._bar.update(count)

    def close(self) -> None:
        """End the line of the bar."""
        self._bar.close()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def with_progress(
    items: Iterable[Item], total: int, *, unit: str, title: str = "", shown: bool = True
) -> Iterator[Item]:
    """The items, with a progress bar that counts them."""
    with Progress(total, unit=unit, title=title, shown=shown) as progress:
        for item in items:
            yield item
            progress.update()
