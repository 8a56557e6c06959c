"""What a generator is conditioned on: a class, or a caption; either may be absent (classifier-free guidance)."""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from textok.checks import check, check_choice
from textok.models.attention import KeyMask, join_captions
from textok.models.text import TextCondition, TextTokens

NO_CLASS = -1


@dataclass(frozen=True)
class Condition:
    """One class or one caption per row; exactly one of the two kinds.

    The label ``NO_CLASS`` stands for none, as does a row of text without tokens.
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
        both = (self.text, other.text)
        missing = [max(text.mask.shape[1] for text in both) - text.mask.shape[1] for text in both]
        states = [F.pad(text.embeddings, (0, 0, 0, more)) for text, more in zip(both, missing, strict=True)]
        masks = [F.pad(text.mask, (0, more)) for text, more in zip(both, missing, strict=True)]
        return Condition(text=TextCondition(embeddings=torch.cat(states), mask=torch.cat(masks)))

    def __len__(self) -> int:
        return len(self._first)

    def __getitem__(self, rows: slice | Int[Tensor, "r"]) -> "Condition":
        """Some rows."""
        if self.text is not None:
            return Condition(text=self.text[rows])
        return Condition(labels=self._first[rows])


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


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """What the configurations of all generators share.

    Attributes:
        dim, depth, num_heads, mlp_ratio: of the transformer.
        num_latents: K, the largest budget.
        condition: class or text.
        tokenizer: model id of the tokenizer whose latents or codes it was trained on.
        tokenizer_source: shipped name, folder or hub id where that tokenizer was loaded from.
    """

    dim: int = 384
    depth: int = 12
    num_heads: int = 6
    mlp_ratio: float = 4.0
    num_latents: int = 32
    condition: ConditionConfig = field(default_factory=ConditionConfig)
    tokenizer: str = ""
    tokenizer_source: str = ""

    def __post_init__(self) -> None:
        check(self, "model", "dim", "depth", "num_heads", "num_latents", at_least=1)
        check(self, "model", "mlp_ratio", above=0)
        if self.dim % self.num_heads:
            raise ValueError(
                f"model.dim: got {self.dim}, expected a multiple of num_heads = {self.num_heads}"
            )


Captions = tuple[Float[Tensor, "b t d"], Bool[Tensor, "b t"]]
"""Caption tokens, and which of them are present."""


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

    def forward(self, condition: Condition, *, batch: int) -> tuple[Float[Tensor, "b d"], Captions | None]:
        """One vector per row, and the caption tokens for the sequence; None of classes.

        Raises:
            ValueError: for another kind, number of rows, class, or text of another encoder.
        """
        if len(condition) != batch:
            raise ValueError(f"condition: got {len(condition)} rows for {batch} of tokens; pass one per row")
        if self.classes is not None:
            return self.classes(self._rows_of(condition.labels)), None
        if condition.text is None:
            raise ValueError("condition: got labels, expected text: this generator reads captions")
        assert self.text is not None
        captions = self.text(condition.text, batch=batch)
        return self._pooled(condition.text), captions

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
    x: Float[Tensor, "b k d"], captions: Captions | None, *, lengths: Int[Tensor, "b"] | None
) -> tuple[Float[Tensor, "b s d"], KeyMask]:
    """Put the caption tokens behind the latents, with the mask of what is present."""
    positions = torch.arange(x.shape[1], device=x.device)
    mask = None if lengths is None else positions[None, :] < lengths[:, None]  # (b k)
    return (x, KeyMask(mask=mask)) if captions is None else join_captions(x, mask, *captions)
