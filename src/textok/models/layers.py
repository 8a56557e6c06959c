"""Transformer layers of every model here: pre-norm blocks, plain, modulated and adaptive.

Axes: b batch, s sequence, h heads, e channels of a head, d width.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch._subclasses import FakeTensor
from torch.utils.checkpoint import checkpoint

from textok.models.attention import KeyMask, Keys, TextBias
from textok.models.rows import LONGEST_ROW, as_rows, kept_of_rows

States = Float[Tensor, "*b s d"]
TIME_CHANNELS = 256
TIME_SCALE = 1000.0  # times in [0, 1] are embedded as the step numbers of the original


class Norm(nn.LayerNorm):
    """Layer norm in the dtype of its input, also under the autocast of CUDA, which would go through float32."""

    def forward(self, input: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:  # noqa: A002 (torch's name)
        """Normalise over the width; the statistics are float32 in the kernel."""
        if input.device.type != "cuda":
            return super().forward(input)
        weight, bias = (None if p is None else p.to(input.dtype) for p in (self.weight, self.bias))
        with torch.autocast("cuda", enabled=False):
            return F.layer_norm(input, self.normalized_shape, weight, bias, self.eps)


class Attention(nn.Module):
    """Multi-head self-attention; q, k and v are separate matrices (Muon orthogonalises each by itself)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(
        self, x: States, keys: Keys, *, text_bias: TextBias = None, keep: int | None = None
    ) -> Float[Tensor, "*b q d"]:
        """Attend from the first ``keep`` positions (default all) to all of them."""
        q, k, v = self.q(keys.first(x, keep)), self.k(x), self.v(x)
        return self.out(keys.attend(q, k, v, num_heads=self.num_heads, text_bias=text_bias))


class Block(nn.Module):
    """Pre-norm transformer block; captions enter attention under a learned bias for each head.

    The bias on caption keys starts low, so that an untrained text path leaves the picture path alone and
    training may open it; benchmarks/text_startup.py compares it with plain attention and with no text.
    """

    def __init__(self, dim: int, num_heads: int, *, mlp_ratio: float, text_bias: float | None) -> None:
        super().__init__()
        self.norm1, self.norm2 = Norm(dim), Norm(dim)
        self.attention = Attention(dim, num_heads)
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.text_bias = None if text_bias is None else nn.Parameter(torch.full((num_heads,), text_bias))

    def forward(self, x: States, keys: Keys, *, keep: int | None = None) -> Float[Tensor, "*b q d"]:
        """One block; with ``keep`` only the first positions are computed (the last block needs no others)."""
        mixed = self.attention(self.norm1(x), keys, text_bias=self.text_bias, keep=keep)
        x = keys.first(x, keep) + mixed
        return x + self.mlp(self.norm2(x))


class ModulatedBlock(Block):
    """Block whose first positions are shifted, scaled and gated by a state that all blocks share, plus own offsets.

    Where state and offsets are zero, which is how training starts, it is exactly a ``Block``.
    """

    def __init__(self, dim: int, num_heads: int, *, mlp_ratio: float, text_bias: float | None) -> None:
        super().__init__(dim, num_heads, mlp_ratio=mlp_ratio, text_bias=text_bias)
        self.offsets = nn.Parameter(torch.zeros(6 * dim))

    def forward(
        self, x: States, keys: Keys, state: Float[Tensor, "b e"], *, keep: int | None = None
    ) -> Float[Tensor, "*b q d"]:
        """One block; ``state`` (b, 6 d) acts on the positions that ``keys`` calls the front."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (state + self.offsets).to(x.dtype).chunk(6, dim=1)
        normed = keys.modulate(self.norm1(x), shift1, scale1)
        mixed = self.attention(normed, keys, text_bias=self.text_bias, keep=keep)
        x = keys.first(x, keep) + keys.modulate(mixed, None, gate1)
        return x + keys.modulate(self.mlp(keys.modulate(self.norm2(x), shift2, scale2)), None, gate2)


class AdaptiveBlock(nn.Module):
    """Transformer block whose norms are shifted and scaled, and whose branches are gated, by the state (adaLN-zero)."""

    def __init__(self, dim: int, num_heads: int, *, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = (Norm(dim, elementwise_affine=False, eps=1e-6) for _ in range(2))
        self.attention = Attention(dim, num_heads)
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, dim))
        self.modulation = nn.Linear(dim, 6 * dim)

    def forward(
        self, x: States, state: Float[Tensor, "b d"], keys: KeyMask, *, keep: int | None = None
    ) -> Float[Tensor, "b q d"]:
        """One block; with ``keep`` only the first positions are computed."""
        modulation = self.modulation(F.silu(state))[:, None].to(x.dtype)  # (b 1 6d)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=2)
        mixed = self.attention(modulate(self.norm1(x), shift1, scale1), keys, keep=keep)
        x = x[:, :keep] + gate1 * mixed
        return x + gate2 * self.mlp(modulate(self.norm2(x), shift2, scale2))


class Blocks(nn.ModuleList):
    """Blocks one after another, each called as ``block(x, *context, keep=...)``."""

    activation_checkpointing = False

    def forward(
        self,
        x: States,
        *context: Any,
        keep: int,
        keep_between: int | None = None,
        between: Callable[[States], States] | None = None,
    ) -> Float[Tensor, "*b q d"]:
        """Run them on the sequence ``x``; the last one computes the first ``keep`` positions only.

        The others compute the first ``keep_between``, default all; ``between`` makes of them what the next one reads.
        """
        x = in_autocast_dtype(x)
        last = len(self) - 1
        for index, block in enumerate(self):
            positions = keep if index == last else keep_between
            if self.activation_checkpointing and self.training:
                x = checkpoint(block, x, *context, keep=positions, use_reentrant=False)
            else:
                x = block(x, *context, keep=positions)
            if between is not None and index < last:
                x = between(x)
        return x


def checkpoint_activations(model: nn.Module, *, enabled: bool) -> None:
    """Recompute activations in the backward pass: less memory for about a third more time."""
    for module in model.modules():
        if isinstance(module, Blocks):
            module.activation_checkpointing = enabled


class Transformer(nn.Module):
    """A stack of blocks that returns the first positions of the sequence, normalised."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        depth: int,
        mlp_ratio: float = 4.0,
        text_bias: float | None = None,
        modulated: bool = False,
        text_as_keys: bool = False,
    ) -> None:
        super().__init__()
        block = ModulatedBlock if modulated else Block
        self.blocks = Blocks(
            block(dim, num_heads, mlp_ratio=mlp_ratio, text_bias=text_bias) for _ in range(depth)
        )
        self.norm = Norm(dim)
        self.text_as_keys = text_as_keys  # every block reads the captions as they came in, and computes none
        self.fixed_shapes = False  # keeps the padding, as compiled blocks want it

    def forward(
        self, x: Float[Tensor, "b s d"], keys: KeyMask, *context: Any, keep: int
    ) -> Float[Tensor, "b q d"]:
        """Run the blocks and keep the first ``keep`` positions; modulated blocks read a state as ``context``."""
        body = x.shape[1] - keys.num_text
        if self.fixed_shapes or not suits_rows(x):
            return self.norm(self._run(x, keys, *context, keep=keep, body=body))
        packed, rows = as_rows(x, keys.mask, num_text=keys.num_text, keep=keep, front=keys.front)
        packed = self._run(packed, rows, *context, keep=keep, body=body)
        return kept_of_rows(self.norm(packed), rows)

    def _run(self, x: States, keys: Keys, *context: Any, keep: int, body: int) -> Float[Tensor, "*b q d"]:
        """The blocks; ``body`` is the number of positions before the caption."""
        if not self.text_as_keys:
            return self.blocks(x, keys, *context, keep=keep)
        captions = keys.captions_of(in_autocast_dtype(x))
        renew = partial(keys.with_captions, captions=captions)
        return self.blocks(x, keys, *context, keep=keep, keep_between=body, between=renew)


def suits_rows(x: Float[Tensor, "b s d"]) -> bool:
    """Whether a batch is computed without its padding: on a processor, and where shapes may depend on values."""
    has_values = not torch.compiler.is_compiling() and not isinstance(x, FakeTensor)
    return x.device.type == "cpu" and x.shape[1] <= LONGEST_ROW and has_values


def in_autocast_dtype(x: States) -> States:
    """The residual stream in autocast's dtype too, where that is on: half the memory traffic."""
    kind = x.device.type
    if kind != "meta" and torch.is_autocast_enabled(kind):
        return x.to(torch.get_autocast_dtype(kind))
    return x


class TimeEmbedding(nn.Module):
    """Sine-cosine waves of the time, then a small network."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(TIME_CHANNELS, dim), nn.Linear(dim, dim)

    def forward(self, time: Float[Tensor, "b"]) -> Float[Tensor, "b d"]:
        """Times in [0, 1] to vectors."""
        half = TIME_CHANNELS // 2
        exponents = torch.arange(half, device=time.device, dtype=torch.float32) / half
        angles = TIME_SCALE * time.float()[:, None] * torch.exp(-math.log(10_000.0) * exponents)
        waves = torch.cat([angles.cos(), angles.sin()], dim=1).to(self.first.weight.dtype)
        return self.second(F.silu(self.first(waves)))


def modulate(
    x: Float[Tensor, "b s d"], shift: Float[Tensor, "b 1 d"], scale: Float[Tensor, "b 1 d"]
) -> Float[Tensor, "b s d"]:
    """Shift and scale, 0 and 0 changing nothing."""
    return torch.addcmul(shift, x.to(shift.dtype), 1 + scale)


def init_linear(module: nn.Module) -> None:
    """Give every linear layer inside Xavier weights and zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def lay_out_for_few_rows(module: nn.Module) -> None:
    """Store the weights of linear layers column by column, which a processor multiplies faster with some dozen rows.

    Values and shapes stay; a picture is drawn in a sixth less time.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear) and layer.weight.device.type == "cpu":
            layer.weight.data = layer.weight.data.t().contiguous().t()


@contextmanager
def drawn_apart() -> Iterator[None]:
    """First weights made inside do not move the draws of what is made afterwards.

    Models with and without an optional part then start from the same weights elsewhere, so that a comparison
    of the two with one seed is about the part, not about luck.
    """
    with torch.random.fork_rng(devices=[]):
        seed = torch.randint(2**62, ())
        if type(seed) is Tensor and not seed.is_meta:  # a model of shapes without memory draws nothing
            torch.default_generator.manual_seed(int(seed))
        yield
