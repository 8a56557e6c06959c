"""What a writer of captions is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from textok.data.samples import RawSample


@dataclass(frozen=True, kw_only=True)
class Request:
    """One caption that is wanted: of a picture as the writer's ``prepare`` made it, with the captions it came with."""

    key: str
    picture: Any
    prompt: str
    captions: tuple[str, ...]
    seed: int
    temperature: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back.

    Attributes:
        text: as the model wrote it.
        finish: "stop", or "length" when it was cut off.
        tokens_in: tokens read, where the writer counts them; likewise the tokens written.
        changes: what the writer did to the words it was given.
        failure: why there is no text, and none will come of asking again.
    """

    text: str
    finish: str = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    changes: tuple[str, ...] = ()
    failure: str | None = None


@runtime_checkable
class Writer(Protocol):
    """Writes captions of prepared pictures.

    Attributes:
        model: recorded with each caption.
        notice: one line for the person who starts it: what it is, or where the pictures go.
        varies: whether another seed gives another answer.
        batch_size: requests in one call of ``write``.
        in_flight: calls of ``write`` at a time.
    """

    model: str
    notice: str
    varies: bool
    batch_size: int
    in_flight: int

    def prepare(self, sample: RawSample) -> Any:
        """Make a stored picture ready, in any thread. Raises ``ImageError`` when it cannot be read."""
        ...

    async def check(self) -> None:
        """Find out that it can work, before any picture is read. Raises ``ValueError`` or ``OSError``."""
        ...

    async def write(self, requests: Sequence[Request]) -> list[Answer]:
        """One answer per request, in their order. Raises ``ValueError`` or ``OSError`` when none can come."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class LocalWriter:
    """What writers without a connection share."""

    async def check(self) -> None:
        """Nothing can be missing once it is made."""

    async def close(self) -> None:
        """Nothing is open."""
