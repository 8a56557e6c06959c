"""Sequences without their padding: the rows of a batch one behind another, which is how a processor computes fastest.

All that works on single positions runs over the n present ones; attention takes a row at a time, whose scores stay in
the cache, so that it needs neither a mask nor a copy of the heads.

Axes: b batch, s sequence, n present positions of all rows, m kept ones, h heads, e channels of a head, d width.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Packed = Float[Tensor, "n d"]
Kept = Float[Tensor, "m d"]
LONGEST_ROW = 512  # between the lengths 126 and 1,280 of benchmarks/results/attention.json


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Where each row of a batch lies among the present positions.

    Attributes:
        lengths: present positions of each row.
        num_text: how many of the last ones are caption tokens.
        fronts: how many of the first ones are modulated.
        kept: (b, keep), which of the first places are present; the last block computes only these.
        kept_places: (m,), where those lie among all present positions.
        is_caption: (n,), which positions are caption tokens.
    """

    lengths: list[int]
    num_text: list[int]
    fronts: list[int]
    kept: Bool[Tensor, "b keep"]
    kept_places: Int[Tensor, "m"]
    is_caption: Bool[Tensor, "n"]

    def first(self, x: Packed, keep: int | None) -> Kept:
        """The positions that are kept; all without ``keep``, all but the captions for another than the last block's."""
        if keep is None:
            return x
        return x.index_select(0, self.kept_places if keep == self.kept.shape[1] else self._body_places)

    def captions_of(self, x: Packed) -> Float[Tensor, "c d"]:
        """The caption tokens."""
        return x.index_select(0, self._caption_places)

    def with_captions(self, x: Float[Tensor, "r d"], captions: Float[Tensor, "c d"]) -> Packed:
        """Positions that had left their captions, with them again."""
        return torch.cat([x, captions]).index_select(0, self._order)

    def attend(
        self, q: Kept, k: Packed, v: Packed, *, num_heads: int, text_bias: Float[Tensor, "h"] | None
    ) -> Kept:
        """Every row attends to itself; ``text_bias`` is added to the scores of its caption."""
        sizes = list(zip(self._lengths(len(q)), self.lengths, self.num_text, strict=True))
        return _RowAttention.apply(q, k, v, text_bias, sizes, num_heads)

    def modulate(self, x: Packed, shift: Float[Tensor, "b d"] | None, scale: Float[Tensor, "b d"]) -> Packed:
        """Scale the first positions of every row by (1 + scale), and shift them; ``x`` may hold the kept ones only."""
        sizes = list(zip(self._lengths(len(x)), self.fronts, strict=True))
        return _RowModulation.apply(x, shift, scale, sizes)

    def _lengths(self, total: int) -> list[int]:
        """Positions of each row: all, or all but the captions, or those that are kept, whichever are so many."""
        if total == sum(self.lengths):
            return self.lengths
        if total == sum(self.lengths) - sum(self.num_text):
            return [length - text for length, text in zip(self.lengths, self.num_text, strict=True)]
        return self.kept.sum(dim=1).tolist()

    @cached_property
    def _body_places(self) -> Int[Tensor, "r"]:
        return (~self.is_caption).nonzero()[:, 0]

    @cached_property
    def _caption_places(self) -> Int[Tensor, "c"]:
        return self.is_caption.nonzero()[:, 0]

    @cached_property
    def _order(self) -> Int[Tensor, "n"]:
        return torch.cat([self._body_places, self._caption_places]).argsort()


def as_rows(
    x: Float[Tensor, "b s d"], mask: Bool[Tensor, "b s"] | None, *, num_text: int, keep: int, front: int
) -> tuple[Float[Tensor, "n d"], Rows]:
    """The present positions, row by row; absent ones are left out. ``front``: how many first ones are modulated."""
    batch, length = x.shape[:2]
    if mask is None:
        mask = torch.ones(batch, length, dtype=torch.bool, device=x.device)
    positions = torch.arange(length, device=x.device)
    first = positions < keep
    rows = Rows(
        lengths=mask.sum(dim=1).tolist(),
        num_text=mask[:, length - num_text :].sum(dim=1).tolist(),
        fronts=mask[:, :front].sum(dim=1).tolist(),
        kept=mask[:, :keep],
        kept_places=first.expand(batch, -1)[mask].nonzero()[:, 0],
        is_caption=(positions >= length - num_text).expand(batch, -1)[mask],
    )
    places = mask.flatten().nonzero()[:, 0]
    return x.flatten(0, 1).index_select(0, places), rows


def kept_of_rows(x: Float[Tensor, "m d"], rows: Rows) -> Float[Tensor, "b keep d"]:
    """The kept positions of every row side by side; absent ones are zero."""
    if len(x) == rows.kept.numel():
        return x.unflatten(0, rows.kept.shape)
    padded = x.new_zeros(*rows.kept.shape, x.shape[1])
    padded[rows.kept] = x
    return padded


Sizes = tuple[int, int, int]
"""Of a row: positions that ask, all positions, caption tokens."""


class _RowAttention(torch.autograd.Function):
    """Softmax attention within each row, by two products; the probabilities are kept for the backward pass."""

    @staticmethod
    def forward(
        ctx, q: Tensor, k: Tensor, v: Tensor, text_bias: Tensor | None, sizes: list[Sizes], num_heads: int
    ) -> Tensor:
        ctx.sizes, ctx.num_heads, ctx.scale = sizes, num_heads, (q.shape[-1] // num_heads) ** -0.5
        q = q * ctx.scale
        mixed, probabilities = torch.empty_like(q), []
        rows = zip(sizes, *_by_row(sizes, num_heads, q, k, v, mixed), strict=True)
        for (_, length, caption), query, key, value, out in rows:
            scores = torch.bmm(query, key.mT)
            if text_bias is not None:
                scores[:, :, length - caption :] += text_bias[:, None, None]
            probabilities.append(scores.softmax(dim=-1, dtype=scores.dtype))
            out.copy_(torch.bmm(probabilities[-1], value))
        ctx.save_for_backward(q, k, v, *probabilities)
        ctx.needs_bias = text_bias is not None
        return mixed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *probabilities = ctx.saved_tensors
        gradients = [torch.empty_like(x) for x in (q, k, v)]
        bias = q.new_zeros(ctx.num_heads, dtype=torch.float32) if ctx.needs_bias else None
        views = _by_row(ctx.sizes, ctx.num_heads, q, k, v, upstream, *gradients)
        for (_, length, caption), weights, *row in zip(ctx.sizes, probabilities, *views, strict=True):
            query, key, value, up, to_query, to_key, to_value = row
            to_value.copy_(torch.bmm(weights.mT, up))
            scores = torch._softmax_backward_data(torch.bmm(up, value.mT), weights, -1, weights.dtype)
            if bias is not None:
                bias += scores[:, :, length - caption :].sum(dim=(1, 2), dtype=torch.float32)
            to_query.copy_(torch.bmm(scores, key))
            to_key.copy_(torch.bmm(scores.mT, query))
        gradients[0] *= ctx.scale
        return (*gradients, bias, None, None)


def _by_row(sizes: list[Sizes], num_heads: int, *packed: Tensor) -> list[list[Tensor]]:
    """Views (h, s, e) of every row, for each of the packed tensors; those as long as the first have its rows."""
    asking, lengths = [size[0] for size in sizes], [size[1] for size in sizes]
    parts = [x.split(asking if len(x) == sum(asking) else lengths) for x in packed]
    return [[part.unflatten(-1, (num_heads, -1)).transpose(0, 1) for part in rows] for rows in parts]


class _RowModulation(torch.autograd.Function):
    """x (1 + scale) + shift for the first positions of each row; the others as they are."""

    @staticmethod
    def forward(ctx, x: Tensor, shift: Tensor | None, scale: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
        ctx.sizes, ctx.has_shift = sizes, shift is not None
        ctx.save_for_backward(x, scale)
        modulated = x.clone()
        for row, part in enumerate(_fronts(modulated, sizes)):
            part *= 1 + scale[row]
            if shift is not None:
                part += shift[row]
        return modulated

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, scale = ctx.saved_tensors
        to_x, to_scale = upstream.clone(), torch.empty_like(scale)
        to_shift = torch.empty_like(scale) if ctx.has_shift else None
        fronts = (_fronts(tensor, ctx.sizes) for tensor in (x, upstream, to_x))
        for row, (part, up, out) in enumerate(zip(*fronts, strict=True)):
            out *= 1 + scale[row]
            torch.sum(part * up, dim=0, out=to_scale[row])
            if to_shift is not None:
                torch.sum(up, dim=0, out=to_shift[row])
        return to_x, to_shift, to_scale, None


def _fronts(x: Tensor, sizes: list[tuple[int, int]]) -> list[Tensor]:
    """Views of the first positions of every row."""
    rows = x.split([length for length, _ in sizes])
    return [part[:front] for part, (_, front) in zip(rows, sizes, strict=True)]
