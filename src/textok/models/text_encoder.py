"""Frozen text encoders: captions to token states (TexTok, section 3, uses T5; our small default is MiniLM)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from textok.display import note
from textok.models import minilm, transformers_text
from textok.models.text import TextCondition
from textok.models.text_encoder_files import PACKAGED, files_fingerprint, resolve

PADDED_TO = 32
"""Lengths of padded captions are multiples of this; softmax is slow over rows of other lengths."""
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class TextEncoderInfo:
    """What identifies a text encoder, known without loading its weights.

    Attributes:
        name, max_tokens, dtype: as given to ``from_pretrained``.
        dim: channels of a token state.
        fingerprint: hash of configuration, weights, tokenizer, ``dtype`` and ``max_tokens``; the same on every
            machine and for every folder that holds the same files.
    """

    name: str
    dim: int
    max_tokens: int
    dtype: str
    fingerprint: str

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise ValueError(f"text encoder dtype: got {self.dtype!r}, expected one of {', '.join(_DTYPES)}")
        if self.max_tokens < 1:
            raise ValueError(f"text encoder max_tokens: got {self.max_tokens}, expected at least 1")


class TextEncoder:
    """A frozen text encoder; not a module, so that it never becomes part of another model's weights.

    The token states are the encoder's last hidden state for every token its tokenizer gives, special tokens
    ([CLS] and [SEP] of BERT, </s> of T5, start and end of CLIP) included. No prompt or prefix is added.
    """

    def __init__(self, info: TextEncoderInfo, *, model: torch.nn.Module, tokenizer: Any) -> None:
        specials = tokenizer.num_special_tokens
        if info.max_tokens <= specials:
            raise ValueError(
                f"text encoder {info.name}: max_tokens={info.max_tokens} leaves no room for words; its tokenizer "
                f"adds {specials} special tokens, so at least {specials + 1} are needed"
            )
        self.info = info
        self._model: Any = model.eval().requires_grad_(False)
        self._device = next(model.parameters()).device
        self._tokenizer = tokenizer
        self._cut_is_said = False

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path = "minilm",
        *,
        max_tokens: int = 40,
        dtype: str = "float32",
        device: torch.device | str = "cpu",
    ) -> "TextEncoder":
        """Load a frozen encoder and its tokenizer.

        Args:
            name_or_folder: "minilm" (ships with the package), a folder, or a hub id, ``id@revision`` to pin it.
                T5, mT5 and umT5 load as their encoder half, CLIP as its text half, other encoder-decoder models
                as their encoder, anything else as ``AutoModel``. Only safetensors weights are read.
            max_tokens: captions are cut to this many tokens, special tokens included.
            dtype: "float32", "bfloat16" or "float16", for weights and computation.
            device: where it runs.

        Raises:
            FileNotFoundError: no such folder, no safetensors weights, or a hub id that cannot be fetched.
            ValueError: a setting or a model that does not fit, with what to change.
        """
        info = cls.describe(name_or_folder, max_tokens=max_tokens, dtype=dtype)
        home, folder = _home_and_folder(info.name)
        model = home.load_model(folder, _DTYPES[dtype]).to(device)
        return cls(info, model=model, tokenizer=home.load_tokenizer(folder))

    @classmethod
    def describe(
        cls, name_or_folder: str | Path = "minilm", *, max_tokens: int = 40, dtype: str = "float32"
    ) -> TextEncoderInfo:
        """Name, width and fingerprint, from configuration and file samples: no weights are loaded.

        Errors are those of ``from_pretrained``.
        """
        name = str(name_or_folder)
        home, folder = _home_and_folder(name)
        dim, limit = home.dim_and_limit(folder)
        if limit is not None and max_tokens > limit:
            raise ValueError(f"text encoder {name}: max_tokens={max_tokens}; it reads at most {limit} tokens")
        hashed = files_fingerprint(folder, settings=f"{dtype} {max_tokens}")
        return TextEncoderInfo(name=name, dim=dim, max_tokens=max_tokens, dtype=dtype, fingerprint=hashed)

    @property
    def name(self) -> str:
        """The name it was loaded by."""
        return self.info.name

    def __call__(self, captions: Sequence[str | None]) -> TextCondition:
        """Encode captions, padded to the longest of them; a blank or None caption is a row without tokens."""
        return TextCondition.pad(self.encode_ragged(captions))

    @torch.no_grad()
    def encode_ragged(
        self, captions: Sequence[str | None], *, batch_size: int | None = None
    ) -> list[Float[Tensor, "_ d"]]:
        """Encode captions to one (t_i, d) tensor each, without padding; a blank or None caption has t_i = 0.

        Captions of like length run together, so that hardly any padding is computed. How many do so at once changes
        speed and memory only: by default few on a CPU, where padding costs more than small products, and 64 elsewhere.

        Raises:
            TypeError: when a single string is passed in place of a list.
        """
        if isinstance(captions, str):
            raise TypeError("TextEncoder: got one string; expected a list of captions")
        device, dtype = self._device, _DTYPES[self.info.dtype]
        batch_size = batch_size or (8 if device.type == "cpu" else 64)
        features = [torch.empty(0, self.info.dim, device=device, dtype=dtype) for _ in captions]
        tokens = self._tokenize(captions)
        rows = sorted(tokens, key=lambda row: len(tokens[row]))
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            padded = self._run(*self._pad([tokens[row] for row in batch], len(tokens[batch[-1]])))
            for row, states in zip(batch, padded, strict=True):
                features[row] = states[: len(tokens[row])].clone()
        return features

    @torch.no_grad()
    def encode_on_device(self, captions: Sequence[str | None]) -> TextCondition:
        """Encode captions to states on the encoder's device, with the mask on the CPU: nothing waits for the device.

        On a GPU a float32 encoder runs under autocast in 16 bits, as a cache stores states. Captions are padded to a
        multiple of ``PADDED_TO`` tokens, so that few shapes occur.
        """
        by_row = self._tokenize(captions)
        tokens = [by_row.get(row, []) for row in range(len(captions))]
        longest = max(map(len, tokens), default=0)
        length = max(1, min(-(-longest // PADDED_TO) * PADDED_TO, self.info.max_tokens))
        ids, mask = self._pad(tokens, length)
        states = self._run(ids, mask, fast=self._device.type == "cuda")
        return TextCondition(embeddings=states, mask=mask.bool())

    def _tokenize(self, captions: Sequence[str | None]) -> dict[int, list[int]]:
        """Token ids of the captions that have any, by row."""
        texts = {row: caption for row, caption in enumerate(captions) if caption and caption.strip()}
        if not texts:
            return {}
        limit = self.info.max_tokens
        tokens = dict(zip(texts, self._tokenizer.ids(list(texts.values()), max_tokens=limit), strict=True))
        if not self._cut_is_said:
            self._say_what_is_cut([texts[row] for row, ids in tokens.items() if len(ids) == limit])
        return {row: ids for row, ids in tokens.items() if ids}

    def _say_what_is_cut(self, captions: Sequence[str]) -> None:
        """Once: how much of the first caption that is too long is not read."""
        for caption in captions:
            over = len(self._tokenizer.ids([caption])[0]) - self.info.max_tokens
            if over > 0:
                self._cut_is_said = True
                note(
                    f"captions are read up to {self.info.max_tokens} tokens: the last {over} tokens of "
                    f"{caption[:60] + '...' if len(caption) > 60 else caption!r} are cut; others may be too"
                )
                return

    def _run(
        self, ids: Int[Tensor, "b t"], mask: Int[Tensor, "b t"], *, fast: bool = False
    ) -> Float[Tensor, "b t d"]:
        # Off, or the features would depend on whether the caller happens to train under autocast.
        with torch.autocast(self._device.type, torch.float16, enabled=fast and self.info.dtype == "float32"):
            return self._model(ids.to(self._device), mask.to(self._device))

    def _pad(self, tokens: list[list[int]], length: int) -> tuple[Int[Tensor, "b t"], Int[Tensor, "b t"]]:
        pad_id = self._tokenizer.pad_token_id
        ids = torch.tensor([token_ids + [pad_id] * (length - len(token_ids)) for token_ids in tokens])
        lengths = torch.tensor([len(token_ids) for token_ids in tokens])
        return ids, (torch.arange(length)[None, :] < lengths[:, None]).long()


def token_counts(name_or_folder: str | Path, captions: Sequence[str]) -> list[int]:
    """Tokens of each caption before any is cut, special tokens included; no weights are loaded."""
    if not captions:
        return []
    home, folder = _home_and_folder(str(name_or_folder))
    return [len(row) for row in home.load_tokenizer(folder).ids(captions)]


def _home_and_folder(name: str) -> tuple[ModuleType, Path]:
    """The module that loads an encoder, where the packaged one does without transformers, and its files."""
    return minilm if name == PACKAGED else transformers_text, resolve(name)
