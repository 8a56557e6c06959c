"""Caption features for training: read from the cache; the text encoder is loaded only if some are missing."""

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from textok.data.caption_cache import CaptionCache, Encode
from textok.models.text import TextCondition
from textok.models.text_encoder import TextEncoder
from textok.models.tokenizer import TexTokConfig

_RECENT = 2048  # captions, about 45 kB each in MiniLM


def default_cache_folder() -> Path:
    """Where caption features are kept unless the run says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "textok" / "captions"


class CachedText:
    """Captions to text for one tokenizer, by its frozen encoder's cached token states."""

    def __init__(
        self, config: TexTokConfig, *, folder: str | None, dtype: str = "float32", device: str = "cpu"
    ) -> None:
        self.name, self.max_tokens = config.text_encoder, config.max_text_tokens
        self.dtype, self.device = dtype, device
        self._encode: Encode | None = None
        self._recent: OrderedDict[tuple[str, ...], list[Tensor]] = OrderedDict()
        info = TextEncoder.describe(self.name, max_tokens=self.max_tokens, dtype=dtype)
        if info.dim != config.text_dim:
            raise ValueError(f"model.text_dim: got {config.text_dim}, but {self.name} is {info.dim} wide")
        self.cache = CaptionCache(
            folder or default_cache_folder(),
            encoder_fingerprint=info.fingerprint,
            dim=info.dim,
            max_tokens=self.max_tokens,
        )

    def warm(self, captions: Iterable[str], *, progress: bool) -> int:
        """Encode what the cache lacks; returns how many captions that were."""
        return self.cache.warm(captions, self._encoder, progress=progress)

    def encode_unstored(self) -> None:
        """From now on encode captions that are not stored as they come, and store none: for endless captions."""
        self._encode = self._encode or self._encoder()

    def _encoder(self) -> Encode:
        encoder = TextEncoder.from_pretrained(
            self.name, max_tokens=self.max_tokens, dtype=self.dtype, device=self.device
        )
        return encoder.encode_ragged

    def __call__(self, captions: Sequence[str]) -> TextCondition:
        """Text of the captions in fp32, padded to the longest of them."""
        lacking = [] if self._encode is None else self.cache.missing(captions)
        if self._encode is None or not lacking:
            return TextCondition.pad([states.float() for states in self.cache.get(captions)])
        states = dict(zip(lacking, self._encoded(tuple(lacking), self._encode), strict=True))
        rows = [
            states[caption] if caption in states else self.cache.get([caption])[0] for caption in captions
        ]
        return TextCondition.pad([row.float().cpu() for row in rows])

    def _encoded(self, captions: tuple[str, ...], encode: Encode) -> list[Tensor]:
        """States in the precision of the cache, kept for a while: sources repeat whole batches of captions.

        Whole batches, because the states of a caption depend a little on those that run with it: so a resumed run,
        which keeps nothing yet, goes on bit for bit.
        """
        if captions not in self._recent:
            self._recent[captions] = [states.half().cpu() for states in encode(captions)]
            while sum(map(len, self._recent)) > _RECENT and len(self._recent) > 1:
                self._recent.popitem(last=False)
        self._recent.move_to_end(captions)
        return self._recent[captions]
