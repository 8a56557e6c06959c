"""What a generator is conditioned on: a class, or a caption; either may be absent (classifier-free guidance)."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from textok.checks import check, check_choice
from textok.models.attention import KeyMask, join_captions
from textok.models.text import TextCondition, TextTokens

NO_CLASS = -1


@dataclass(frozen=True)
class Condition:
    """One class or one caption per row; exactly one of the two kinds.

    Attributes:
        labels: (b,) class labels; ``NO_CLASS`` stands for none.
        text: captions; a row without tokens stands for none.
    """

    labels: Int[Tensor, "b"] | None = None
    text: TextCondition | None = None

    def __post_init__(self) -> None:
        if (self.labels is None) == (self.text is None):
            raise ValueError("Condition: expected either labels or text")

    def dropped(self, rows: Bool[Tensor, "b"]) -> "Condition":
        """The same, without a class or caption in ``rows``."""
        if self.text is not None:
            return Condition(text=self.text.dropped(rows))
        return Condition(labels=self._first.masked_fill(rows, NO_CLASS))

    def unconditional(self) -> "Condition":
        """As many rows, all without a class or caption."""
        return self.dropped(torch.ones(len(self), dtype=torch.bool, device=self.device))

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self._first.device

    @property
    def _first(self) -> Tensor:
        first = self.labels if self.text is None else self.text.mask
        assert first is not None  # __post_init__
        return first

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Condition":
        """Move to a device and, for text states, a dtype."""
        if self.text is not None:
            return Condition(text=self.text.to(device, dtype))
        return Condition(labels=self._first.to(device))

    def joined(self, other: "Condition") -> "Condition":
        """The rows of both, this one's first; both of the same kind, captions padded to one length."""
        if self.text is None or other.text is None:
            return Condition(labels=torch.cat([self._first, other._first]))
        longest = max(self.text.mask.shape[1], other.text.mask.shape[1])
        mine, theirs = (_padded(text, longest) for text in (self.text, other.text))
        return Condition(
            text=TextCondition(
                embeddings=torch.cat([mine.embeddings, theirs.embeddings]),
                mask=torch.cat([mine.mask, theirs.mask]),
            )
        )

    def __len__(self) -> int:
        return len(self._first)

    def __getitem__(self, rows: slice | Int[Tensor, "r"]) -> "Condition":
        """Some rows."""
        if self.text is not None:
            return Condition(text=self.text[rows])
        return Condition(labels=self._first[rows])


def _padded(text: TextCondition, length: int) -> TextCondition:
    missing = length - text.mask.shape[1]
    return TextCondition(
        embeddings=nn.functional.pad(text.embeddings, (0, 0, 0, missing)),
        mask=nn.functional.pad(text.mask, (0, missing)),
    )


@dataclass(frozen=True, kw_only=True)
class ConditionConfig:
    """What a generator reads.

    Attributes:
        kind: "text" or "class".
        num_classes: how many classes, for "class"; 0 is filled in from the training cache.
        text_encoder: name, folder or hub id of the frozen text encoder, for "text".
        text_dim: its width.
        max_text_tokens: captions are cut to this many tokens.
    """

    kind: Literal["class", "text"] = "text"
    num_classes: int = 0
    text_encoder: str = "minilm"
    text_dim: int = 384
    max_text_tokens: int = 40

    def __post_init__(self) -> None:
        check_choice(self, "condition", kind=("class", "text"))
        check(self, "condition", "text_dim", "max_text_tokens", at_least=1)
        if self.num_classes < 0 or (self.num_classes and self.kind == "text"):
            raise ValueError(
                f"condition.num_classes: got {self.num_classes} for kind {self.kind!r}; "
                "expected 0 for text, 0 (those of the cache) or more for class"
            )


@dataclass(frozen=True)
class Embedded:
    """A condition as a network reads it.

    Attributes:
        pooled: (b, d), one vector per row.
        tokens: (b, t, d), caption tokens for the sequence; None for classes.
        mask: (b, t), True where there is one; None for classes.
    """

    pooled: Float[Tensor, "b d"]
    tokens: Float[Tensor, "b t d"] | None = None
    mask: Bool[Tensor, "b t"] | None = None


class ConditionEmbedder(nn.Module):
    """Classes to one learned vector each; captions to tokens and their projected mean. "None" is learned too."""

    def __init__(self, config: ConditionConfig, *, dim: int) -> None:
        super().__init__()
        self.config = config
        self.classes = self.text = self.pool = self.no_text = None
        if config.kind == "class":
            self.classes = nn.Embedding(config.num_classes + 1, dim)  # the last one stands for no class
            nn.init.normal_(self.classes.weight, std=0.02)
            return
        self.text = TextTokens(text_dim=config.text_dim, dim=dim, max_tokens=config.max_text_tokens)
        self.pool = nn.Linear(config.text_dim, dim)
        self.no_text = nn.Parameter(torch.randn(dim) * 0.02)

    def forward(self, condition: Condition, *, batch: int) -> Embedded:
        """Embed one condition per row.

        Raises:
            ValueError: for another kind, number of rows, class, or text of another encoder.
        """
        if len(condition) != batch:
            raise ValueError(f"condition: got {len(condition)} rows for {batch} of tokens; pass one per row")
        if self.classes is not None:
            return Embedded(pooled=self.classes(self._rows_of(condition.labels)))
        if condition.text is None:
            raise ValueError("condition: got labels, expected text: this generator reads captions")
        assert self.text is not None
        tokens, mask = self.text(condition.text, batch=batch)  # (b t d)
        return Embedded(pooled=self._pooled(condition.text), tokens=tokens, mask=mask)

    def _rows_of(self, labels: Int[Tensor, "b"] | None) -> Int[Tensor, "b"]:
        count = self.config.num_classes
        if labels is None:
            raise ValueError("condition: got text, expected labels: this generator reads classes")
        # Only where looking costs no wait for the device; elsewhere the embedding stops at a wrong number.
        if labels.device.type == "cpu" and not NO_CLASS <= int(labels.min()) <= int(labels.max()) < count:
            raise ValueError(
                f"labels: got {int(labels.min())} to {int(labels.max())}, "
                f"expected 0 to {count - 1}, or {NO_CLASS} for no class"
            )
        return torch.where(labels == NO_CLASS, count, labels)

    def _pooled(self, text: TextCondition) -> Float[Tensor, "b d"]:
        """The mean token state, projected."""
        assert self.pool is not None and self.no_text is not None and self.text is not None
        states = self.text.norm(text.embeddings.to(self.pool.weight.dtype))
        states = states.masked_fill(~text.mask[..., None], 0.0)
        count = text.mask.sum(dim=1, keepdim=True)
        pooled = self.pool(states.sum(dim=1) / count.clamp(min=1))  # (b d)
        return torch.where(count > 0, pooled, self.no_text.to(pooled.dtype))


def join_condition(
    x: Float[Tensor, "b k d"], embedded: Embedded, *, lengths: Int[Tensor, "b"] | None
) -> tuple[Float[Tensor, "b s d"], KeyMask]:
    """Put the caption tokens behind the latents, with the mask of what is present."""
    mask = None
    if lengths is not None:
        mask = torch.arange(x.shape[1], device=x.device)[None, :] < lengths[:, None]  # (b k)
    if embedded.tokens is None or embedded.mask is None:
        return x, KeyMask(mask=mask)
    return join_captions(x, mask, embedded.tokens, embedded.mask)
