"""Text as every model here reads it: caption token embeddings with a mask (TexTok, section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from textok.models.attention import absent_bias, attend
from textok.models.layers import init_linear


@dataclass(frozen=True)
class TextCondition:
    """Caption token embeddings of a frozen text encoder, padded to the longest caption of the batch.

    ``mask`` (b, t) is True where there is a real token; ``embeddings`` (b, t, d) at other positions are never read. A
    row whose mask has no True means *no caption*: the models put their learned null token there.
    """

    embeddings: Float[Tensor, "b t d"]
    mask: Bool[Tensor, "b t"]

    def __post_init__(self) -> None:
        if self.embeddings.shape[:-1] != self.mask.shape or self.mask.shape[1] < 1:
            raise ValueError(
                f"text: got embeddings {tuple(self.embeddings.shape)} and mask {tuple(self.mask.shape)}, "
                "expected (b, t, d) and (b, t) with t at least 1"
            )

    @classmethod
    def pad(cls, features: Sequence[Float[Tensor, "_ d"]]) -> "TextCondition":
        """Pad ragged token states (t_i, d) to the longest of the batch; t_i = 0 stands for no caption.

        Raises:
            ValueError: when the list is empty.
        """
        if not features:
            raise ValueError("TextCondition.pad: got no captions; expected at least one")
        embeddings = nn.utils.rnn.pad_sequence(list(features), batch_first=True)
        if not embeddings.shape[1]:  # there is always one position
            embeddings = embeddings.new_zeros(len(features), 1, embeddings.shape[2])
        lengths = torch.tensor([len(f) for f in features], device=embeddings.device)
        positions = torch.arange(embeddings.shape[1], device=lengths.device)
        return cls(embeddings=embeddings, mask=positions[None, :] < lengths[:, None])

    def dropped(self, rows: Bool[Tensor, "b"]) -> "TextCondition":
        """The same text, with the captions of ``rows`` removed."""
        return TextCondition(embeddings=self.embeddings, mask=self.mask & ~rows[:, None])

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "TextCondition":
        """Move to a device and, for the embeddings, a dtype."""
        return TextCondition(self.embeddings.to(device=device, dtype=dtype), self.mask.to(device))

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, rows: slice | Int[Tensor, "r"]) -> "TextCondition":
        """Some rows, cut to the last position that any of them uses: padding is never carried along."""
        mask = self.mask[rows]
        used = mask.any(dim=0).nonzero()
        longest = int(used.max()) + 1 if len(used) else 1
        return TextCondition(embeddings=self.embeddings[rows, :longest], mask=mask[:, :longest])


class TextTokens(nn.Module):
    """Caption states to transformer tokens; a row without a caption becomes one learned null token."""

    def __init__(self, *, text_dim: int, dim: int, max_tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(text_dim)
        self.project = nn.Linear(text_dim, dim)
        self.positions = nn.Parameter(torch.randn(max_tokens, dim) * 0.5)
        self.null = nn.Parameter(torch.randn(dim) * 0.5)

    def forward(
        self, text: TextCondition | None, *, batch: int
    ) -> tuple[Float[Tensor, "b t d"], Bool[Tensor, "b t"]]:
        """Tokens (b, t, d) and which of them are present."""
        if text is None:
            tokens = self.null.expand(batch, 1, -1)
            return tokens, torch.ones(batch, 1, dtype=torch.bool, device=tokens.device)
        self.check(text, batch=batch)
        length = text.mask.shape[1]
        states = text.embeddings.to(self.norm.weight.dtype).masked_fill(~text.mask[..., None], 0.0)
        tokens = self.project(self.norm(states)) + self.positions[:length]  # (b t d)
        first = torch.zeros_like(text.mask)
        first[:, 0] = ~text.mask.any(dim=1)
        tokens = torch.where(first[..., None], self.null.to(tokens.dtype), tokens)
        return tokens, text.mask | first

    def check(self, text: TextCondition, *, batch: int) -> None:
        """Raise ``ValueError`` for text of another batch, width or length."""
        limit, width = self.positions.shape[0], self.norm.normalized_shape[0]
        rows, length, text_width = text.embeddings.shape
        if rows != batch:
            raise ValueError(f"text: got {rows} captions for {batch} pictures; pass one caption per picture")
        if text_width != width:
            raise ValueError(
                f"text: got states {text_width} wide, expected {width}; use the model's own text encoder"
            )
        if length > limit:
            raise ValueError(
                f"text: got {length} tokens, expected at most {limit}; encode with max_tokens={limit}"
            )


class PooledTextTokens(nn.Module):
    """Caption states to a fixed number of tokens: learned queries attend to the tokens of ``TextTokens``.

    A row without a caption is the pooled null token, so it has as many tokens as any other.
    """

    def __init__(self, tokens: TextTokens, *, num_tokens: int, num_heads: int) -> None:
        super().__init__()
        self.tokens, self.num_heads = tokens, num_heads
        dim = len(tokens.null)
        self.queries = nn.Parameter(torch.randn(num_tokens, dim) * 0.5)
        self.norm = nn.LayerNorm(dim)
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        init_linear(self)

    @property
    def null(self) -> nn.Parameter:
        """The learned token of rows without a caption."""
        return self.tokens.null

    def forward(
        self, text: TextCondition | None, *, batch: int
    ) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b n"]]:
        """Tokens (b, n, d), all of them present."""
        tokens, mask = self.tokens(text, batch=batch)
        states = self.norm(tokens)
        queries = self.queries.expand(batch, -1, -1)
        q, k, v = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer, x in ((self.q, queries), (self.k, states), (self.v, states))
        )
        mixed = attend(q, k, v, bias=absent_bias(mask, dtype=q.dtype))
        pooled = queries + self.out(mixed.transpose(1, 2).flatten(2))
        return pooled, mask.new_ones(pooled.shape[:2])
