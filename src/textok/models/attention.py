"""Attention over padded sequences, with a bias on the keys for captions and padding.

Axes: b batch, s sequence, h heads, e channels of a head, d width.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from textok.models.rows import LONGEST_ROW, Rows

ABSENT = -1e4  # of a score: its exponential is 0 in every dtype
States = Float[Tensor, "b s d"]
Asking = Float[Tensor, "b h q e"]
Asked = Float[Tensor, "b h s e"]
Bias = Float[Tensor, "#b #h 1 s"] | None
TextBias = Float[Tensor, "h"] | None


@dataclass(frozen=True)
class KeyMask:
    """Which positions of a padded sequence may be attended to: those where ``mask`` is True, or all without one.

    The last ``num_text`` positions are caption tokens; the first ``front`` ones are those that a modulated block
    modulates.
    """

    mask: Bool[Tensor, "b s"] | None = None
    num_text: int = 0
    front: int = 0

    def first(self, x: States, keep: int | None) -> Float[Tensor, "b q d"]:
        """The first ``keep`` positions; all without it."""
        return x[:, :keep]

    def captions_of(self, x: States) -> Float[Tensor, "b t d"]:
        """The caption tokens."""
        return x[:, x.shape[1] - self.num_text :]

    def with_captions(self, x: Float[Tensor, "b r d"], captions: Float[Tensor, "b t d"]) -> States:
        """Positions that had left their caption, with it again."""
        return torch.cat([x, captions], dim=1)

    def attend(
        self, q: Float[Tensor, "b q d"], k: States, v: States, *, num_heads: int, text_bias: TextBias
    ) -> Float[Tensor, "b q d"]:
        """Attend to what is present; ``text_bias`` is added to the scores of caption tokens."""
        heads = [x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (q, k, v)]
        bias = self.bias(text_bias, length=k.shape[1])
        return attend(*heads, bias=bias).transpose(1, 2).flatten(2)

    def modulate(self, x: States, shift: Float[Tensor, "b d"] | None, scale: Float[Tensor, "b d"]) -> States:
        """Scale the front of every row by (1 + scale), and shift it."""
        shift = torch.zeros_like(scale) if shift is None else shift
        front = torch.addcmul(shift[:, None], x[:, : self.front].to(shift.dtype), 1 + scale[:, None])
        return torch.cat([front, x[:, self.front :].to(shift.dtype)], dim=1)

    def bias(self, text_bias: TextBias, *, length: int) -> Bias:
        """Additive attention bias: minus infinity on absent keys, ``text_bias`` on caption keys."""
        absent = absent_bias(self.mask, dtype=torch.float32)
        if text_bias is None or not self.num_text:
            return absent
        pictures = text_bias.new_zeros(len(text_bias), length - self.num_text)
        captions = text_bias[:, None].expand(-1, self.num_text)
        bias = torch.cat([pictures, captions], dim=1)[None, :, None, :]  # (1 h 1 s)
        return bias if absent is None else bias + absent


def attend(q: Asking, k: Asked, v: Asked, *, bias: Bias = None) -> Asking:
    """Softmax attention with an additive bias on the keys, by the faster path of the device.

    On the CPU the backward pass of the fused kernel is several times slower than two matrix products for the short
    sequences of a small tokenizer, and faster for those of TexTok-B (benchmarks/results/attention.json), so training
    there takes the products up to ``LONGEST_ROW`` keys.
    """
    if q.device.type == "cpu" and k.shape[2] <= LONGEST_ROW and torch.is_grad_enabled():
        return attend_by_products(q, k, v, bias=bias)
    if bias is None:
        return F.scaled_dot_product_attention(q, k, v)
    return attend_by_channel(q, k, v, bias=bias)


def attend_by_channel(q: Asking, k: Asked, v: Asked, *, bias: Float[Tensor, "#b #h 1 s"]) -> Asking:
    """The bias as one more channel of k, which q reads by a constant: kernels that take no mask then serve.

    Seven channels of zeros beside it keep heads a multiple of 8 wide, as those kernels want them.
    """
    width = q.shape[-1]
    bias = bias.clamp(min=ABSENT).to(k.dtype).mT.expand(*k.shape[:3], 1)
    q = torch.cat([q, q.new_full((*q.shape[:3], 1), width**0.5), q.new_zeros(*q.shape[:3], 7)], dim=3)
    k = torch.cat([k, bias, k.new_zeros(*k.shape[:3], 7)], dim=3)
    mixed = F.scaled_dot_product_attention(q, k, F.pad(v, (0, 8)), scale=width**-0.5)
    return mixed[..., :width]


def attend_by_products(q: Asking, k: Asked, v: Asked, *, bias: Bias = None) -> Asking:
    """The definition: softmax(q k^T / sqrt(e) + bias) v."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (b h q s)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    return scores.softmax(dim=-1, dtype=scores.dtype) @ v


def absent_bias(mask: Bool[Tensor, "b s"] | None, *, dtype: torch.dtype) -> Float[Tensor, "b 1 1 s"] | None:
    """Additive attention bias: minus infinity on absent keys."""
    if mask is None:
        return None
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, -math.inf)[:, None, None, :]


def join_captions(
    x: States, mask: Bool[Tensor, "b s"] | None, tokens: Float[Tensor, "b t d"], present: Bool[Tensor, "b t"]
) -> tuple[Float[Tensor, "b r d"], KeyMask]:
    """Put the caption tokens behind the others; both masks are True where a token is present, None for all."""
    mask = present.new_ones(x.shape[:2]) if mask is None else mask
    keys = KeyMask(mask=torch.cat([mask, present], dim=1), num_text=tokens.shape[1])
    return torch.cat([x, tokens.to(x.dtype)], dim=1), keys


Keys = KeyMask | Rows
