"""A bag of words as a text encoder: one fixed random vector a word, so that what a word means is trained.

The tokenizer's projection of these vectors is the trained embedding. It is the control of the caption study:
words without a language model (order, grammar and likeness of words are unknown to it).
"""

import hashlib
import re
from collections.abc import Sequence
from types import SimpleNamespace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

DIM = 384
BUCKETS = 16_384
_WORD = re.compile(r"[a-z0-9]+")


class WordTokenizer:
    """Captions to the sorted numbers of their distinct words, hashed into ``BUCKETS``; 0 is padding."""

    pad_token_id = 0

    def num_special_tokens_to_add(self) -> int:
        """None: a caption is its words."""
        return 0

    def __call__(
        self, captions: Sequence[str], *, max_length: int, **_: object
    ) -> dict[str, list[list[int]]]:
        """At most ``max_length`` numbers a caption."""
        return {"input_ids": [sorted({_bucket(w) for w in words_of(c)})[:max_length] for c in captions]}


class WordVectors(nn.Module):
    """A fixed random vector of unit variance for every number."""

    def __init__(self) -> None:
        super().__init__()
        table = torch.randn(BUCKETS, DIM, generator=torch.Generator().manual_seed(0))
        self.embedding = nn.Embedding.from_pretrained(table, freeze=True)

    @property
    def device(self) -> torch.device:
        """Where the vectors are."""
        return self.embedding.weight.device

    def forward(self, input_ids: Int[Tensor, "b t"], attention_mask: Int[Tensor, "b t"]) -> SimpleNamespace:
        """The vectors, as a transformers model returns its states."""
        states: Float[Tensor, "b t d"] = self.embedding(input_ids)
        return SimpleNamespace(last_hidden_state=states)


def words_of(caption: str) -> list[str]:
    """Lower-case words and numbers of a caption."""
    return _WORD.findall(caption.lower())


def _bucket(word: str) -> int:
    digest = hashlib.sha256(word.encode()).digest()
    return 1 + int.from_bytes(digest[:8], "little") % (BUCKETS - 1)
