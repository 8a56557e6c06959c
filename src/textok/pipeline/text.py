"""Captions to the states of a frozen text encoder: from a cache on the disk in training, else from memory."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from textok.data.caption_cache import CaptionCache, Encode
from textok.data.files import cache_folder
from textok.data.text import TextError, clean_text
from textok.models.text import TextCondition
from textok.models.text_encoder import TextEncoder
from textok.models.tokenizer import TexTokConfig

Captions = str | Sequence[str | None] | None
"""One for each picture (None or "" for a picture without), one for all, or none."""
MAX_REMEMBERED = 256
"""Captions whose states are kept for the next call: with MiniLM 16 MB, with T5-XXL 270 MB in bfloat16."""


class CachedText:
    """Captions to text for one tokenizer, by its frozen encoder's states, which a folder caches.

    The text encoder is loaded only when states are missing there.
    """

    def __init__(self, config: TexTokConfig, *, folder: str | None, device: str = "cpu") -> None:
        self.name, self.device = config.text_encoder, device
        self._options: dict[str, Any] = {"max_tokens": config.max_text_tokens, "dtype": config.text_dtype}
        self._encode: Encode | None = None
        self._online: TextEncoder | None = None
        info = TextEncoder.describe(self.name, **self._options)
        if info.dim != config.text_dim:
            raise ValueError(
                f"model.text_dim: got {config.text_dim}, expected {info.dim}, that of {self.name}"
            )
        self.fingerprint = info.fingerprint
        self.cache = CaptionCache(
            folder or cache_folder("captions"),
            encoder_fingerprint=self.fingerprint,
            dim=info.dim,
            max_tokens=config.max_text_tokens,
        )

    def warm(self, captions: Iterable[str], *, progress: bool) -> int:
        """Encode what the cache lacks; returns how many captions that were."""
        return self.cache.warm(captions, self._encoder, progress=progress)

    def encode_unstored(self) -> None:
        """From now on encode captions that are not stored as they come, and store none: for endless captions."""
        self._encode = self._encode or self._encoder()

    def encode_online(self) -> None:
        """From now on encode all captions as they come and leave their states on the device; store none."""
        self._online = self._load()

    def _load(self) -> TextEncoder:
        return TextEncoder.from_pretrained(self.name, device=self.device, **self._options)

    def _encoder(self) -> Encode:
        return self._load().encode_ragged

    def __call__(self, captions: Sequence[str]) -> TextCondition:
        """Text of the captions: stored states in float32 padded to the longest, or those of the encoder as they are."""
        if self._online is not None:
            return self._online.encode_on_device(captions)
        missing = [] if self._encode is None else self.cache.missing(captions)
        if self._encode is None or not missing:
            return TextCondition.pad([states.float() for states in self.cache.get(captions)])
        # In the dtype of the cache, so that it makes no difference which captions are stored.
        encoded = (states.half().cpu() for states in self._encode(missing))
        states = dict(zip(missing, encoded, strict=True))
        rows = [states[text] if text in states else self.cache.get([text])[0] for text in captions]
        return TextCondition.pad([row.float().cpu() for row in rows])


class RememberedText:
    """A frozen text encoder that is loaded when the first caption comes, and remembers the last captions.

    Encoding and decoding a picture, or drawing several pictures from one prompt, reads the same caption several times.
    ``max_tokens`` of a caption and ``text_dtype`` are for an encoder that is loaded by name or folder.
    """

    def __init__(
        self,
        encoder: TextEncoder | str | Path,
        *,
        max_tokens: int,
        text_dtype: str = "float32",
        remember: int = MAX_REMEMBERED,
    ) -> None:
        self._source, self._remember = encoder, remember
        self._options: dict[str, Any] = {"max_tokens": max_tokens, "dtype": text_dtype}
        self.to("cpu", torch.float32)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> None:
        """Give states on this device and in this dtype from now on."""
        self.device, self.dtype = torch.device(device), dtype
        self._loaded: TextEncoder | None = None
        self._states: dict[str, Float[Tensor, "_ d"]] = {}

    def forget(self) -> None:
        """Encode all captions anew from here on: in other company their states differ in last bits."""
        self._states = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without what was remembered: it is the same object to a cache that goes by its bytes, used or not."""
        return self.__dict__ | {"_loaded": None, "_states": {}}

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
            self._loaded = TextEncoder.from_pretrained(self._source, device=self.device, **self._options)
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
        for caption in distinct:  # the last ones stand last
            self._states[caption] = self._states.pop(caption)
        for caption in list(self._states)[: -max(self._remember, len(distinct))]:
            del self._states[caption]
        return condition


def as_captions(captions: Captions, count: int) -> tuple[str, ...]:
    """One string for each picture, "" where there is none; ``ValueError`` for anything else, or another number."""
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
    texts = []
    for place, caption in enumerate(captions):
        if not isinstance(caption, str | None):
            raise ValueError(f"captions[{place}]: got {type(caption).__name__}, expected a string or None")
        try:
            texts.append(clean_text(caption or ""))
        except TextError as error:
            raise ValueError(f"captions[{place}]: {str(error).removeprefix('text: ')}") from error
    return tuple(texts)
