"""What an encoded set of pictures is: the tokens of each, and all that decoding them needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor

# 4,096 x 4,096 pixels at patch 16. Decoding attends over all patches at once: more is a mistake or an attack.
MAX_PATCHES = 65_536


@dataclass(frozen=True, kw_only=True, eq=False)
class Tokens:
    """The tokens of some pictures, with what is needed to decode them.

    Attributes:
        values: latents (b, k, c) of about unit scale from a continuous tokenizer, or integer codes (b, k)
            from a discrete one.
        model_id: the tokenizer that made them, ``TexTok.model_id``; no other can decode them.
        grid: (rows, columns) of patches of the decoded pictures.
        keys: a name for each picture.
        captions: a caption for each picture, "" where it was encoded without one; None when the captions
            were not kept.
        settings: how they were made (plain JSON values), for the record only.
    """

    values: Float[Tensor, "b k c"] | Integer[Tensor, "b k"]
    model_id: str
    grid: tuple[int, int]
    keys: tuple[str, ...]
    captions: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if 0 in self.values.shape:
            raise ValueError(f"tokens: got shape {tuple(self.values.shape)}; expected no axis of length zero")
        if self.latents is not None and not bool(torch.isfinite(self.latents).all()):
            raise ValueError("latents: found NaN or infinite values")
        if self.codes is not None and int(self.codes.min()) < 0:
            raise ValueError(f"codes: found {int(self.codes.min())}; expected zero or more")
        rows, columns = self.grid
        if rows < 1 or columns < 1 or rows * columns > MAX_PATCHES:
            raise ValueError(f"grid: got {rows} x {columns} patches; expected 1 to {MAX_PATCHES} in all")
        for name, names in (("keys", self.keys), ("captions", self.captions)):
            if names is not None and len(names) != len(self):
                raise ValueError(
                    f"{name}: got {len(names)}; expected one for each of the {len(self)} pictures"
                )

    @property
    def latents(self) -> Float[Tensor, "b k c"] | None:
        """The values of a continuous tokenizer, else None."""
        return self.values if self.values.is_floating_point() else None

    @property
    def codes(self) -> Integer[Tensor, "b k"] | None:
        """The values of a discrete tokenizer, else None."""
        return None if self.values.is_floating_point() else self.values

    @property
    def num_tokens(self) -> int:
        """Tokens of each picture, k."""
        return self.values.shape[1]

    @property
    def bytes_per_image(self) -> int:
        """Bytes of one picture's tokens in the number type they are held in; captions not counted."""
        return self.values[0].numel() * self.values.element_size()

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice) -> "Tokens":
        captions = None if self.captions is None else self.captions[rows]
        return replace(self, values=self.values[rows], keys=self.keys[rows], captions=captions)

    def first(self, num_tokens: int) -> "Tokens":
        """The first tokens of every picture: what encoding to that smaller budget gives.

        Raises:
            ValueError: when there are not so many.
        """
        if not 1 <= num_tokens <= self.num_tokens:
            raise ValueError(f"num_tokens: got {num_tokens}; expected 1 to {self.num_tokens}")
        return replace(self, values=self.values[:, :num_tokens])

    @classmethod
    def concat(cls, parts: Sequence["Tokens"]) -> "Tokens":
        """One after another; the captions are kept when every part has them.

        Raises:
            ValueError: when they are not of one model and one grid.
        """
        if len({(part.model_id, part.grid) for part in parts}) != 1:
            raise ValueError(f"tokens: got {len(parts)} parts, of different models or grids, or none")
        kept = [part.captions for part in parts if part.captions is not None]
        return replace(
            parts[0],
            values=torch.cat([part.values for part in parts]),
            keys=tuple(key for part in parts for key in part.keys),
            captions=tuple(text for texts in kept for text in texts) if len(kept) == len(parts) else None,
        )
