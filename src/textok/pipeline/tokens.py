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

    Exactly one of ``latents`` (continuous bottlenecks) and ``codes`` (discrete ones) is there.

    Attributes:
        model_id: the tokenizer that made them, ``TexTok.model_id``; no other can decode them.
        grid: (rows, columns) of patches of the decoded pictures.
        keys: a name for each picture.
        captions: a caption for each picture, "" where it was encoded without one; None when the captions
            were not kept.
        latents: (b, k, c), about unit scale.
        codes: (b, k), from zero.
        settings: how they were made (plain JSON values), for the record only.
    """

    model_id: str
    grid: tuple[int, int]
    keys: tuple[str, ...]
    captions: tuple[str, ...] | None = None
    latents: Float[Tensor, "b k c"] | None = None
    codes: Integer[Tensor, "b k"] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_values()
        rows, columns = self.grid
        if rows < 1 or columns < 1 or rows * columns > MAX_PATCHES:
            raise ValueError(f"grid: got {rows} x {columns} patches; expected 1 to {MAX_PATCHES} in all")
        for name, names in (("keys", self.keys), ("captions", self.captions)):
            if names is not None and len(names) != len(self):
                raise ValueError(
                    f"{name}: got {len(names)}; expected one for each of the {len(self)} pictures"
                )

    def _check_values(self) -> None:
        if (self.latents is None) == (self.codes is None):
            raise ValueError("tokens: expected either latents or codes, not both and not neither")
        values, dims = (self.codes, 2) if self.latents is None else (self.latents, 3)
        if values.ndim != dims or 0 in values.shape:
            wanted = "(pictures, tokens, channels)" if dims == 3 else "(pictures, tokens)"
            raise ValueError(f"tokens: got shape {tuple(values.shape)}; expected {wanted}, none of them zero")
        if self.latents is not None and not bool(torch.isfinite(self.latents).all()):
            raise ValueError("latents: found NaN or infinite values")
        if self.codes is not None and int(self.codes.min()) < 0:
            raise ValueError(f"codes: found {int(self.codes.min())}; expected zero or more")

    @property
    def values(self) -> Float[Tensor, "b k c"] | Integer[Tensor, "b k"]:
        """The latents or the codes, whichever there are."""
        return self.codes if self.latents is None else self.latents

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
        return replace(
            self,
            keys=self.keys[rows],
            captions=None if self.captions is None else self.captions[rows],
            latents=None if self.latents is None else self.latents[rows],
            codes=None if self.codes is None else self.codes[rows],
        )

    def first(self, num_tokens: int) -> "Tokens":
        """The first tokens of every picture: what encoding to that smaller budget gives.

        Raises:
            ValueError: when there are not so many.
        """
        if not 1 <= num_tokens <= self.num_tokens:
            raise ValueError(f"num_tokens: got {num_tokens}; expected 1 to {self.num_tokens}")
        return replace(
            self,
            latents=None if self.latents is None else self.latents[:, :num_tokens],
            codes=None if self.codes is None else self.codes[:, :num_tokens],
        )

    @classmethod
    def concat(cls, parts: Sequence["Tokens"]) -> "Tokens":
        """One after another.

        Raises:
            ValueError: when they are not of one model and one grid.
        """
        if len({(part.model_id, part.grid) for part in parts}) != 1:
            raise ValueError(f"tokens: got {len(parts)} parts, of different models or grids, or none")
        captions = [part.captions for part in parts]
        return replace(
            parts[0],
            keys=tuple(key for part in parts for key in part.keys),
            captions=None if None in captions else tuple(text for part in captions for text in part),
            latents=None if parts[0].latents is None else torch.cat([part.latents for part in parts]),
            codes=None if parts[0].codes is None else torch.cat([part.codes for part in parts]),
        )
