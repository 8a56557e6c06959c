"""The packaged text encoder: MiniLM with six layers (all-MiniLM-L6-v2), a BERT of 384 channels, in plain torch.

Importing transformers takes longer than all else that a first caption needs. The operations are its own, in order.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

DIM, MAX_TOKENS = 384, 512
_HEADS, _LAYERS, _WORDS, _NORM_EPS = 12, 6, 30522, 1e-12
# Names of BERT's tensors -> names here.
_RENAMED = {
    "_embeddings.weight": "",
    "embeddings.": "",
    "LayerNorm": "norm",
    "encoder.layer": "layers",
    "attention.self.": "",
    "attention.output.dense": "out",
    "attention.output.norm": "attention_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.norm": "norm",
}


class MiniLM(nn.Module):
    """Token ids to the last hidden states; its weights come from ``load_model``."""

    def __init__(self) -> None:
        super().__init__()
        # No nn.Embedding: filling one on the meta device makes torch import its compiler, for more than a second.
        self.word, self.position, self.token_type = (
            nn.Parameter(torch.empty(count, DIM)) for count in (_WORDS, MAX_TOKENS, 2)
        )
        self.norm = nn.LayerNorm(DIM, eps=_NORM_EPS)
        self.layers = nn.ModuleList(_Layer() for _ in range(_LAYERS))

    def forward(self, ids: Int[Tensor, "b t"], mask: Int[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        """States of all tokens; those where the mask is 0 are not attended to."""
        x = F.embedding(ids, self.word) + self.token_type[0]
        x = self.norm(x + self.position[: ids.shape[1]])
        # Without a mask where nothing is masked, as transformers does: the kernels differ in the last bits.
        # A GPU is not asked, which would wait for it.
        all_present = mask.is_cpu and mask.all()
        keys = None if all_present else mask.bool()[:, None, None, :].expand(-1, 1, ids.shape[1], -1)
        for layer in self.layers:
            x = layer(x, keys)
        return x


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(DIM, DIM) for _ in range(4))
        self.attention_norm = nn.LayerNorm(DIM, eps=_NORM_EPS)
        self.up, self.down = nn.Linear(DIM, 4 * DIM), nn.Linear(4 * DIM, DIM)
        self.norm = nn.LayerNorm(DIM, eps=_NORM_EPS)

    def forward(self, x: Float[Tensor, "b t d"], keys: Tensor | None) -> Float[Tensor, "b t d"]:
        parts = self.query, self.key, self.value
        q, k, v = (part(x).unflatten(-1, (_HEADS, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=keys)
        x = self.attention_norm(self.out(mixed.transpose(1, 2).flatten(2)) + x)
        return self.norm(self.down(F.gelu(self.up(x))) + x)


def dim_and_limit(_: Path) -> tuple[int, int]:
    """Channels of a token state, and the most tokens of a caption."""
    return DIM, MAX_TOKENS


def load_model(folder: Path, dtype: torch.dtype) -> MiniLM:
    """The encoder with its weights; ``ValueError`` when the file lacks tensors."""
    weights = {}
    for key, value in load_file(folder / "model.safetensors").items():
        for old, new in _RENAMED.items():
            key = key.replace(old, new)
        weights[key] = value
    with torch.device("meta"):  # no random weights that are overwritten at once
        model = MiniLM()
    if missing := model.state_dict().keys() - weights:
        raise ValueError(
            f"text encoder {folder}: got weights without {min(missing)}; install its package again"
        )
    # assign: the file stays mapped, and of 30,522 word vectors only those that are read enter memory.
    model.load_state_dict({key: weights[key] for key in model.state_dict()}, assign=True)
    return model.to(dtype)


class MiniLMTokenizer:
    """Captions to token ids, [CLS] and [SEP] included."""

    pad_token_id = 0

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self.num_special_tokens = self._tokenizer.num_special_tokens_to_add(is_pair=False)

    def ids(self, captions: Sequence[str], *, max_tokens: int | None = None) -> list[list[int]]:
        """Token ids of each caption, cut to ``max_tokens`` where there is such a limit."""
        self._tokenizer.no_truncation()
        if max_tokens is not None:
            self._tokenizer.enable_truncation(max_tokens)
        return [row.ids for row in self._tokenizer.encode_batch_fast(list(captions))]


load_tokenizer = MiniLMTokenizer
