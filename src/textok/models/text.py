"""Text as every model here reads it: caption token embeddings with a mask (TexTok, section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class TextCondition:
    """Caption token embeddings of a frozen text encoder, padded to the longest caption of the batch.

    A row whose mask has no True means *no caption*: the models put their learned null token there.

    Attributes:
        embeddings: token states, (b, t, d); values at masked positions are never read.
        mask: (b, t), True where there is a real token.
    """

    embeddings: Float[Tensor, "b t d"]
    mask: Bool[Tensor, "b t"]

    @classmethod
    def pad(cls, features: Sequence[Float[Tensor, "_ d"]]) -> "TextCondition":
        """Pad ragged token states (t_i, d) to the longest of the batch; at least one position.

        Args:
            features: one (t_i, d) tensor a caption; t_i = 0 stands for no caption.

        Raises:
            ValueError: when the list is empty.
        """
        if not features:
            raise ValueError("TextCondition.pad: got no captions; expected at least one")
        lengths = torch.tensor([len(f) for f in features], device=features[0].device)
        longest = max(1, int(lengths.max()))
        embeddings = features[0].new_zeros(len(features), longest, features[0].shape[-1])
        for row, feature in zip(embeddings, features, strict=True):
            row[: len(feature)] = feature
        positions = torch.arange(longest, device=lengths.device)
        return cls(embeddings=embeddings, mask=positions[None, :] < lengths[:, None])

    def dropped(self, rows: Bool[Tensor, "b"]) -> "TextCondition":  # noqa: F821
        """The same text, with the captions of ``rows`` removed."""
        return TextCondition(embeddings=self.embeddings, mask=self.mask & ~rows[:, None])

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "TextCondition":
        """Move to a device and, for the embeddings, a dtype."""
        return TextCondition(
            embeddings=self.embeddings.to(device=device, dtype=dtype),
            mask=self.mask.to(device),
        )

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, rows: slice | Int[Tensor, "r"]) -> "TextCondition":  # noqa: F821
        """Some rows, cut to the longest of them: padding is never carried along."""
        mask = self.mask[rows]
        longest = max(1, int(mask.sum(dim=1).max())) if len(mask) else 1
        return TextCondition(embeddings=self.embeddings[rows, :longest], mask=mask[:, :longest])
