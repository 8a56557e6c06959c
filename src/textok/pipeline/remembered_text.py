"""Captions to text for a trained model, each distinct caption through the text encoder once."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from textok.data.text import TextError, clean_text
from textok.models.text import TextCondition
from textok.models.text_encoder import TextEncoder

Captions = str | Sequence[str | None] | None
"""One for each picture (None or "" for a picture without), one for all, or none."""
MAX_REMEMBERED = 256
"""Captions whose states are kept for the next call: with MiniLM 16 MB, with T5-XXL 270 MB in bfloat16."""


class RememberedText:
    """A frozen text encoder that is loaded when the first caption comes, and remembers the last captions.

    Encoding and decoding a picture, or drawing several pictures from one prompt, reads the same caption
    several times.

    Args:
        encoder: a TextEncoder, or the name or folder of one.
        max_tokens: of a caption, for an encoder that is loaded by name.
    """

    def __init__(self, encoder: TextEncoder | str | Path, *, max_tokens: int) -> None:
        self._source, self._max_tokens = encoder, max_tokens
        self._loaded: TextEncoder | None = None
        self._states: dict[str, Float[Tensor, "_ d"]] = {}
        self.to("cpu", torch.float32)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> None:
        """Give states on this device and in this dtype from now on."""
        self.device, self.dtype = torch.device(device), dtype
        self._loaded, self._states = None, {}

    @property
    def name(self) -> str:
        """The name of the text encoder."""
        return self._source.name if isinstance(self._source, TextEncoder) else str(self._source)

    @property
    def encoder(self) -> TextEncoder:
        """The frozen text encoder, loaded when it is first needed."""
        if isinstance(self._source, TextEncoder):
            return self._source
        if self._loaded is None:
            self._loaded = TextEncoder.from_pretrained(
                self._source, max_tokens=self._max_tokens, device=self.device
            )
        return self._loaded

    def __call__(self, captions: Sequence[str]) -> TextCondition:
        """One row for each caption, padded to the longest; "" is a row without tokens."""
        distinct = list(dict.fromkeys(captions))
        missing = [caption for caption in distinct if caption not in self._states]
        if missing:
            text = self.encoder(missing).to(self.device, self.dtype)
            lengths = text.mask.sum(dim=1).tolist()
            states = (row[:length] for row, length in zip(text.embeddings, lengths, strict=True))
            self._states |= zip(missing, states, strict=True)
        condition = TextCondition.pad([self._states[caption] for caption in captions])
        others = [caption for caption in self._states if caption not in set(distinct)]
        recent = [*others, *distinct][-max(MAX_REMEMBERED, len(distinct)) :]
        self._states = {caption: self._states[caption] for caption in recent}
        return condition


def as_captions(captions: Captions, count: int) -> tuple[str, ...]:
    """One string for each picture, "" where there is none.

    Raises:
        ValueError: for anything but strings and None, text that is not Unicode, or another number of captions.
    """
    if captions is None or isinstance(captions, str):
        captions = (captions,) * count
    if not isinstance(captions, Sequence):
        raise ValueError(
            f"captions: got {type(captions).__name__}, expected a string, or one for each picture"
        )
    if len(captions) != count:
        raise ValueError(
            f"captions: got {len(captions)} for {count} pictures, expected one each, or one for all"
        )
    return tuple(_as_caption(caption, place) for place, caption in enumerate(captions))


def _as_caption(caption: object, place: int) -> str:
    if not isinstance(caption, str | None):
        raise ValueError(f"captions[{place}]: got {type(caption).__name__}, expected a string or None")
    try:
        return clean_text(caption or "")
    except TextError as error:
        raise ValueError(f"captions[{place}]: {error}") from error
