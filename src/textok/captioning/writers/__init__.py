"""Writers of captions: what one is, and all of them by name. A new one is a class here and a row in ``WRITERS``."""

import base64
import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from PIL import Image

from textok.captioning import CaptionConfig
from textok.data.images import decode_whole, tensor_to_image
from textok.data.samples import DrawnPicture, RawSample

WRITERS = {
    "describe": "offline:DescribeWriter",
    "alt-text": "offline:AltTextWriter",
    "transformers": "transformers:TransformersWriter",
    "openai": "openai:OpenAIWriter",
}
"""Module and class of each; a class is made from a ``CaptionConfig``, its module is imported when it is needed."""


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
    """What came back: the text as the model wrote it, and after the judge the caption, mended.

    It finished by "stop", or by "length" when it was cut off. The changes are those of the writer to the words it was
    given, and of the judge to the answer. The failure is why it is no caption, in words that can be counted; where a
    writer names one, asking again will give none.
    """

    text: str
    finish: str = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    changes: tuple[str, ...] = ()
    failure: str | None = None


class Writer(ABC):
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

    @abstractmethod
    def prepare(self, sample: RawSample) -> Any:
        """Make a stored picture ready, in any thread. Raises ``ImageError`` when it cannot be read."""

    @abstractmethod
    async def write(self, requests: Sequence[Request]) -> list[Answer]:
        """One answer per request, in their order. Raises ``ValueError`` or ``OSError`` when none can come."""

    async def check(self) -> None:
        """Find out that it can work, before any picture is read. Raises ``ValueError`` or ``OSError``."""
        return

    async def close(self) -> None:
        """Let go of connections."""
        return


def open_writer(config: CaptionConfig) -> Writer:
    """The writer of that name; ``ValueError`` without its package, or an option that it needs."""
    module, _, name = WRITERS[config.writer].partition(":")
    try:
        writer = getattr(import_module(f"{__name__}.{module}"), name)(config)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"writer: got {config.writer!r}, but the package {error.name} is not installed; "
            "pip install 'open-textok[caption]'"
        ) from error
    if config.captions_per_picture > 1 and not writer.varies:
        raise ValueError(
            f"captions_per_picture: got {config.captions_per_picture} with {config.writer}, which writes the same "
            "each time, expected 1"
        )
    return writer


def open_picture(stored: bytes | DrawnPicture, *, side: int) -> Image.Image:
    """A picture of a source as upright RGB, whole, no side longer than ``side``; raises ``ImageError``."""
    if isinstance(stored, bytes):
        return decode_whole(stored, side=side)
    return tensor_to_image(stored.draw((side, side)))


def jpeg_base64(image: Image.Image, *, quality: int) -> str:
    """A picture as JPEG in base64, without any metadata."""
    buffer = io.BytesIO()
    Image.frombytes(image.mode, image.size, image.tobytes()).save(buffer, "JPEG", quality=quality)
    return base64.b64encode(buffer.getvalue()).decode()


def chat_content(prompt: str, picture: str | None) -> list[dict[str, Any]]:
    """A picture (JPEG in base64) and the prompt as the content of a chat message of the OpenAI protocol."""
    image = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{picture}"}}
    return [*([image] if picture else []), {"type": "text", "text": prompt}]
