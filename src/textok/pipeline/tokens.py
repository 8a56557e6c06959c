"""What an encoded set of pictures is: the tokens of each, and all that decoding them needs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn.functional import pad

# 4,096 x 4,096 pixels at patch 16. Decoding attends over all patches at once: more is a mistake or an attack.
MAX_PATCHES = 65_536


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Tokens:
    """The tokens of some pictures of one size, with what is needed to decode them.

    ``len(tokens)`` is the number of pictures, ``tokens[3]`` and ``tokens[2:8]`` are some of them, and iterating
    gives them one by one, always as ``Tokens``.

    Attributes:
        values: latents (b, k, c) of about unit scale from a continuous tokenizer, or integer codes (b, k)
            from a discrete one. What lies past a picture's length is never read.
        model_id: the tokenizer that made them, ``TexTok.model_id``; no other can decode them.
        grid: (rows, columns) of patches of the decoded pictures.
        keys: a name for each picture.
        lengths: how many tokens each picture has, 1 to k; all k where none are passed.
        captions: a caption for each picture, "" where it was encoded without one; None when the captions
            were left out.
        settings: how the tokens were made (plain JSON values), for the record only.
    """

    values: Float[Tensor, "b k c"] | Integer[Tensor, "b k"]
    model_id: str
    grid: tuple[int, int]
    keys: tuple[str, ...]
    lengths: tuple[int, ...] = ()
    captions: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if 0 in self.values.shape:
            raise ValueError(f"tokens: got shape {tuple(self.values.shape)}, expected no axis of length zero")
        if not self.lengths:
            object.__setattr__(self, "lengths", (self.num_tokens,) * len(self))
        if self.latents is not None and not bool(torch.isfinite(self.latents).all()):
            raise ValueError("latents: got NaN or infinite values, expected finite ones")
        if self.codes is not None and int(self.codes.min()) < 0:
            raise ValueError(f"codes: got {int(self.codes.min())}, expected zero or more")
        rows, columns = self.grid
        if rows < 1 or columns < 1 or rows * columns > MAX_PATCHES:
            raise ValueError(f"grid: got {rows} x {columns} patches, expected 1 to {MAX_PATCHES} in all")
        per_picture = {"keys": self.keys, "lengths": self.lengths, "captions": self.captions}
        for name, values in per_picture.items():
            if values is not None and len(values) != len(self):
                raise ValueError(f"{name}: got {len(values)}, expected one for each of {len(self)} pictures")
        if not 1 <= min(self.lengths) <= max(self.lengths) <= self.num_tokens:
            raise ValueError(
                f"lengths: got {min(self.lengths)} to {max(self.lengths)}, expected 1 to {self.num_tokens}"
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
        """The most tokens that a picture has room for, k."""
        return self.values.shape[1]

    @property
    def mean_tokens(self) -> float:
        """The mean number of tokens of a picture."""
        return sum(self.lengths) / len(self)

    @property
    def bytes_per_image(self) -> float:
        """The mean bytes of one picture's tokens in the dtype they are held in; captions are not counted."""
        return self.mean_tokens * self.values[0, 0].numel() * self.values.element_size()

    def __repr__(self) -> str:
        kind = "codes" if self.latents is None else "latents"
        values = f"{kind} {tuple(self.values.shape)} {str(self.values.dtype).removeprefix('torch.')}"
        captions = "without captions" if self.captions is None else "with captions"
        lengths = f"{min(self.lengths)} to {max(self.lengths)} tokens each"
        pictures = f"{len(self)} pictures of {self.grid[0]} x {self.grid[1]} patches {captions}"
        return f"Tokens({pictures}, {values}, {lengths}, of model {self.model_id!r})"

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: int | slice) -> "Tokens":
        if isinstance(rows, int):
            place = range(len(self))[rows]
            rows = slice(place, place + 1)
        lengths = self.lengths[rows]
        return replace(
            self,
            values=self.values[rows, : max(lengths, default=0)],
            keys=self.keys[rows],
            lengths=lengths,
            captions=None if self.captions is None else self.captions[rows],
        )

    def __iter__(self) -> Iterator["Tokens"]:
        return (self[place] for place in range(len(self)))

    def select(self, keys: Sequence[str]) -> "Tokens":
        """The pictures of some names.

        Raises:
            ValueError: when there is none of a name.
        """
        places = {key: place for place, key in enumerate(self.keys)}
        missing = [key for key in keys if key not in places]
        if missing:
            raise ValueError(f"key: got {missing[0]!r}, expected one of the {len(self)} pictures")
        return Tokens.concat([self[places[key]] for key in keys])

    def first(self, num_tokens: int) -> "Tokens":
        """The first tokens of every picture: what encoding to that smaller budget gives.

        Raises:
            ValueError: when there are not so many.
        """
        if not 1 <= num_tokens <= self.num_tokens:
            raise ValueError(f"num_tokens: got {num_tokens}, expected 1 to {self.num_tokens}")
        return self.cut([min(length, num_tokens) for length in self.lengths])

    def cut(self, lengths: Sequence[int]) -> "Tokens":
        """The first ``lengths[i]`` tokens of each picture i; zeros stand where there are none.

        Raises:
            ValueError: when there is not one length for each picture, or a length is not within 1 to k.
        """
        cut = replace(self, lengths=tuple(lengths))
        values = self.values[:, : max(cut.lengths)]
        if min(cut.lengths) < values.shape[1]:
            ends = torch.tensor(cut.lengths, device=values.device)
            beyond = torch.arange(values.shape[1], device=values.device) >= ends[:, None]  # (b k)
            values = values.masked_fill(beyond.view(*beyond.shape, *[1] * (values.ndim - 2)), 0)
        return replace(cut, values=values)

    @classmethod
    def concat(cls, parts: Sequence["Tokens"]) -> "Tokens":
        """One set after another; the captions stay when every part has them.

        Raises:
            ValueError: when the parts are not of one model and one grid.
        """
        if len({(part.model_id, part.grid) for part in parts}) != 1:
            raise ValueError(
                f"tokens: got {len(parts)} parts of different models or grids, expected one of each"
            )
        captions = [part.captions for part in parts if part.captions is not None]
        most = max(part.num_tokens for part in parts)
        return replace(
            parts[0],
            values=torch.cat([_padded(part.values, most) for part in parts]),
            keys=tuple(key for part in parts for key in part.keys),
            lengths=tuple(length for part in parts for length in part.lengths),
            captions=tuple(text for texts in captions for text in texts)
            if len(captions) == len(parts)
            else None,
        )


def _padded(values: Tensor, num_tokens: int) -> Tensor:
    missing = num_tokens - values.shape[1]
    return pad(values, (0, 0, 0, missing) if values.is_floating_point() else (0, missing))
