"""The random numbers of a training step: a pure function of seed, step and rank, with no state to save."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from textok.checks import check, check_choice


@dataclass(frozen=True, kw_only=True)
class BudgetDraw:
    """How many latents a training picture keeps (nested dropout, Rippel et al. 2014, arXiv 1402.0915).

    Attributes:
        kind: "fixed" keeps ``length`` always; "uniform" draws 1..K; "log_uniform" draws 2^u with u uniform on
            [0, log2 K], rounded; "powers" draws among the powers of two up to K.
        full_share: share of draws that keep all K, whatever the kind.
        empty_share: share of draws that keep none, so that the decoder has the caption alone and learns to read it;
            latents are quicker to learn, and captions beside them are ignored for long.
        per_sample: every picture draws its own length; else the batch shares one (cheaper: the tail is cut).
        length: of "fixed"; default all K.
    """

    kind: Literal["fixed", "uniform", "log_uniform", "powers"] = "log_uniform"
    full_share: float = 0.25
    empty_share: float = 0.0
    per_sample: bool = True
    length: int | None = None

    def __post_init__(self) -> None:
        check_choice(self, "budgets", kind=("fixed", "uniform", "log_uniform", "powers"))
        check(self, "budgets", "full_share", "empty_share", at_least=0, at_most=1)
        if self.length is not None and (self.kind != "fixed" or self.length < 1):
            raise ValueError(
                f"budgets.length: got {self.length} with {self.kind}, expected 1 or more with fixed"
            )

    def lengths(self, batch: int, *, most: int, generator: torch.Generator) -> Int[Tensor, "b"] | None:
        """A length in 0..``most`` for each row, 0 only by ``empty_share``; None when all rows keep everything."""
        lengths = self._kept(batch, most=most, generator=generator)
        if not self.empty_share:
            return lengths
        empty = torch.rand(batch, generator=generator) < self.empty_share
        return torch.full((batch,), most).where(~empty, 0) if lengths is None else lengths.where(~empty, 0)

    def _kept(self, batch: int, *, most: int, generator: torch.Generator) -> Int[Tensor, "b"] | None:
        if self.kind == "fixed" or most == 1:
            return None if self.length is None else torch.full((batch,), min(self.length, most))
        count = batch if self.per_sample else 1
        u = torch.rand(count, generator=generator)
        drawn = self._quantile(u, most).clamp(1, most)
        full = torch.rand(count, generator=generator) < self.full_share
        return torch.where(full, most, drawn).expand(batch).contiguous()

    def _quantile(self, u: Tensor, most: int) -> Tensor:
        """The drawn length at quantile ``u`` of [0, 1)."""
        if self.kind == "uniform":
            return (u * most).long() + 1
        bits = torch.log2(torch.tensor(float(most)))
        if self.kind == "powers":
            return 2 ** (u * (int(bits) + 1)).long()
        return (2 ** (u * bits)).round().long()


def drop_rows(batch: int, share: float, *, generator: torch.Generator) -> Bool[Tensor, "b"]:
    """Rows whose caption is dropped, each with probability ``share``."""
    return torch.rand(batch, generator=generator) < share


def swap_rows(captions: list[str], share: float, *, generator: torch.Generator) -> list[str]:
    """The captions, each with probability ``share`` replaced by that of the next row (the last by the first).

    Nothing is drawn when ``share`` is 0.
    """
    if not share:
        return captions
    swapped = drop_rows(len(captions), share, generator=generator).tolist()
    others = captions[1:] + captions[:1]
    return [
        other if swap else caption for caption, other, swap in zip(captions, others, swapped, strict=True)
    ]
