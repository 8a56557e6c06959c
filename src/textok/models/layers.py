"""Transformer layers of every model here: pre-norm blocks, masked attention, 2-D positions.

Axes: b batch, s sequence, h heads, e channels of a head, d width.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

PRODUCTS_UP_TO = 512  # between the lengths 126 and 1,280 of benchmarks/results/attention.json


@dataclass(frozen=True)
class Keys:
    """Which positions of a sequence may be attended to.

    Attributes:
        valid: (b, s), True where a token is present; None when all are. Memory comes last.
        num_text: how many of the last keys are caption tokens.
        memory: (b, t, d), caption tokens that every block reads and none changes; None when the captions are
            part of the sequence.
    """

    valid: Bool[Tensor, "b s"] | None = None
    num_text: int = 0
    memory: Float[Tensor, "b t d"] | None = None


def attend(
    q: Float[Tensor, "b h q e"],
    k: Float[Tensor, "b h s e"],
    v: Float[Tensor, "b h s e"],
    *,
    bias: Float[Tensor, "#b #h 1 s"] | None = None,
) -> Float[Tensor, "b h q e"]:
    """Softmax attention with an additive bias on the keys, by the faster path of the device.

    On the CPU the backward pass of the fused kernel is several times slower than two matrix products for
    the short sequences of a small tokenizer, and faster for those of TexTok-B (benchmarks/results/attention.json), so
    training there takes the products up to ``PRODUCTS_UP_TO`` keys.
    """
    short = k.shape[2] <= PRODUCTS_UP_TO
    if q.device.type == "cpu" and short and torch.is_grad_enabled():
        return attend_by_products(q, k, v, bias=bias)
    bias = None if bias is None else bias.to(q.dtype).expand(-1, -1, q.shape[2], -1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def attend_by_products(
    q: Float[Tensor, "b h q e"],
    k: Float[Tensor, "b h s e"],
    v: Float[Tensor, "b h s e"],
    *,
    bias: Float[Tensor, "#b #h 1 s"] | None = None,
) -> Float[Tensor, "b h q e"]:
    """The definition: softmax(q k^T / sqrt(e) + bias) v."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (b h q s)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    return scores.softmax(dim=-1, dtype=scores.dtype) @ v


class Attention(nn.Module):
    """Multi-head self-attention; q, k and v are separate matrices (Muon orthogonalises each by itself).

    With ``memory``, further tokens give keys and values by matrices of their own and ask nothing themselves.
    """

    def __init__(self, dim: int, num_heads: int, *, memory: bool = False) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        with drawn_apart():
            self.memory_k, self.memory_v = (_memory_linear(dim) if memory else None for _ in range(2))

    def forward(
        self,
        x: Float[Tensor, "b s d"],
        *,
        bias: Float[Tensor, "#b #h 1 r"] | None = None,
        keep: int | None = None,
        memory: Float[Tensor, "b t d"] | None = None,
    ) -> Float[Tensor, "b q d"]:
        """Attend from the first ``keep`` positions (default all) to all of them, then to the memory."""
        q, k, v = self.q(x[:, :keep]), self.k(x), self.v(x)
        if memory is not None and self.memory_k is not None and self.memory_v is not None:
            k = torch.cat([k, self.memory_k(memory)], dim=1)  # (b s+t d)
            v = torch.cat([v, self.memory_v(memory)], dim=1)
        mixed = attend(self.split(q), self.split(k), self.split(v), bias=bias)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def split(self, x: Float[Tensor, "b s d"]) -> Float[Tensor, "b h s e"]:
        """Width into heads."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Pre-norm transformer block; captions enter attention under a learned bias for each head.

    The bias on caption keys starts low, so that an untrained text path leaves the picture path alone and
    training may open it; benchmarks/text_startup.py compares it with plain attention and with no text.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float,
        text_bias: float | None,
        memory: bool = False,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads, memory=memory)
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.text_bias = None if text_bias is None else nn.Parameter(torch.full((num_heads,), text_bias))

    def forward(
        self, x: Float[Tensor, "b s d"], keys: Keys, *, keep: int | None = None
    ) -> Float[Tensor, "b q d"]:
        """One block; with ``keep`` only the first positions are computed (the last block needs no others)."""
        length = x.shape[1] + (0 if keys.memory is None else keys.num_text)
        bias = self.key_bias(keys, length=length)
        x = x[:, :keep] + self.attention(self.norm1(x), bias=bias, keep=keep, memory=keys.memory)
        return x + self.mlp(self.norm2(x))

    def key_bias(self, keys: Keys, *, length: int) -> Float[Tensor, "#b #h 1 s"] | None:
        """Additive attention bias: minus infinity on absent keys, the learned bias on caption keys."""
        bias = None
        if self.text_bias is not None and keys.num_text:
            pictures = self.text_bias.new_zeros(len(self.text_bias), length - keys.num_text)
            captions = self.text_bias[:, None].expand(-1, keys.num_text)
            bias = torch.cat([pictures, captions], dim=1)[None, :, None, :]  # (1 h 1 s)
        if keys.valid is not None:
            absent = torch.zeros_like(keys.valid, dtype=torch.float32).masked_fill(~keys.valid, -math.inf)
            bias = absent[:, None, None, :] if bias is None else bias + absent[:, None, None, :]
        return bias


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
        memory: bool = False,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(dim, num_heads, mlp_ratio=mlp_ratio, text_bias=text_bias, memory=memory)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)
        self.activation_checkpointing = False

    def forward(self, x: Float[Tensor, "b s d"], keys: Keys, *, keep: int) -> Float[Tensor, "b q d"]:
        """Run the blocks and keep the first ``keep`` positions."""
        x = in_autocast_dtype(x)
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            kept = keep if index == last else None
            if self.activation_checkpointing and self.training:
                x = checkpoint(block, x, keys, keep=kept, use_reentrant=False)
            else:
                x = block(x, keys, keep=kept)
        return self.norm(x)


def in_autocast_dtype(x: Float[Tensor, "b s d"]) -> Float[Tensor, "b s d"]:
    """The residual stream in autocast's number type too, where that is on: half the memory traffic."""
    kind = x.device.type
    if kind != "meta" and torch.is_autocast_enabled(kind):
        return x.to(torch.get_autocast_dtype(kind))
    return x


def init_linear(module: nn.Module) -> None:
    """Xavier weights and zero biases for every linear layer inside, but those of a memory (made so already)."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear) and "memory_" not in name:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


def _memory_linear(dim: int) -> nn.Linear:
    layer = nn.Linear(dim, dim)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


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


def grid_positions(
    grid: tuple[int, int],
    *,
    dim: int,
    trained_side: int,
    device: torch.device | None = None,
) -> Float[Tensor, "p d"]:
    """2-D sine-cosine positions of unit variance for a (rows, columns) grid of patches, row by row.

    Coordinates are centred, and scaled so that the longer side spans what ``trained_side`` patches span:
    at the trained grid the step is one, and other resolutions or shapes see the same picture plane.
    """
    rows, columns = grid
    step = trained_side / max(rows, columns)
    y = (torch.arange(rows, device=device, dtype=torch.float32) - (rows - 1) / 2) * step
    x = (torch.arange(columns, device=device, dtype=torch.float32) - (columns - 1) / 2) * step
    ys, xs = torch.meshgrid(y, x, indexing="ij")
    half = [_sine_cosine(c.flatten(), dim // 2, longest=4.0 * trained_side) for c in (ys, xs)]
    return torch.cat(half, dim=1)


def _sine_cosine(positions: Float[Tensor, "p"], dim: int, *, longest: float) -> Float[Tensor, "p d"]:
    """Waves with periods from 2 patches to ``longest`` patches, scaled to unit variance."""
    exponents = torch.linspace(0, 1, dim // 2, device=positions.device)
    frequencies = math.pi * (2.0 / longest) ** exponents
    angles = positions[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1) * math.sqrt(2)


def patchify(images: Float[Tensor, "b 3 h w"], *, grid: tuple[int, int]) -> Float[Tensor, "b p i"]:
    """Pictures into flat patches, row by row."""
    batch, channels, height, width = images.shape
    rows, columns = grid
    x = images.reshape(batch, channels, rows, height // rows, columns, width // columns)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, -1)


def unpatchify(
    patches: Float[Tensor, "b p i"], *, grid: tuple[int, int], patch_size: int
) -> Float[Tensor, "b 3 h w"]:
    """Flat patches back into pictures."""
    rows, columns = grid
    x = patches.reshape(len(patches), rows, columns, 3, patch_size, patch_size)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(len(patches), 3, rows * patch_size, columns * patch_size)
