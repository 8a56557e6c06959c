"""Cached latents as training batches: the tokenizer and the text encoder ran once, before."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from textok.data.latent_shards import Manifest, check_shard, read_manifest, read_shard
from textok.data.ordering import EndlessLoader, epoch_order

__all__ = ["LatentBatch", "LatentCache", "LatentLoader", "Manifest"]


@dataclass(frozen=True, kw_only=True)
class LatentBatch:
    """Rows side by side.

    Attributes:
        keys, captions: n of each.
        text: token states (t_i, d) of each caption.
        latents: (n, K, c), drawn from the distribution of a kl tokenizer; None for codes.
        codes: (n, K) of a discrete tokenizer, else None.
        labels: (n,), or None unless every row has one.
    """

    keys: list[str]
    captions: list[str]
    text: list[Float[Tensor, "_ d"]]
    latents: Float[Tensor, "n K c"] | None = None
    codes: Int[Tensor, "n K"] | None = None
    labels: Int[Tensor, "n"] | None = None


@dataclass(frozen=True)
class _Shard:
    tensors: dict[str, Tensor]
    keys: list[str]
    captions: list[str]

    def text(self, row: int) -> Float[Tensor, "_ d"]:
        caption = int(self.tensors["caption"][row])
        ends = self.tensors["text_ends"]
        start = 0 if caption == 0 else int(ends[caption - 1])
        return self.tensors["text"][start : int(ends[caption])].float()


class LatentCache:
    """Rows of a finished cache, mapped from disk (in 16 bits), so that ranks of one machine share the memory."""

    def __init__(self, manifest: Manifest, shards: Sequence[_Shard]) -> None:
        self.manifest = manifest
        self._shards = list(shards)
        self._starts = np.cumsum([0, *(len(shard.keys) for shard in shards)]).tolist()

    @classmethod
    def open(cls, folder: str | Path) -> "LatentCache":
        """Open a cache and verify every shard against the manifest.

        Raises:
            FileNotFoundError: when the folder holds no cache.
            ValueError: when it is not finished, or a shard is missing, cut off or altered.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        if not manifest.complete:
            raise ValueError(f"{folder}: not finished; run the same textok cache command again to go on")
        return cls(manifest, [_Shard(*read_shard(check_shard(folder, e))) for e in manifest.shards])

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def shard_lengths(self) -> list[int]:
        """Rows of each shard."""
        return [len(shard.keys) for shard in self._shards]

    def batch(self, rows: Sequence[int], *, draw: tuple[int, int] | None = None) -> LatentBatch:
        """Some rows.

        Args:
            rows: their numbers.
            draw: (seed, epoch) of a fresh sample of a kl tokenizer's latents; None takes the means.
        """
        found = [self._find(int(row)) for row in rows]
        labels = torch.stack([shard.tensors["labels"][i] for shard, i in found]).long()
        return LatentBatch(
            keys=[shard.keys[i] for shard, i in found],
            captions=[shard.captions[int(shard.tensors["caption"][i])] for shard, i in found],
            text=[shard.text(i) for shard, i in found],
            latents=None if self.manifest.num_codes is not None else self._latents(rows, found, draw),
            codes=None if self.manifest.num_codes is None else _stack("codes", found).long(),
            labels=None if self.manifest.num_classes is None else labels,
        )

    def class_captions(self, *, most: int = 50) -> dict[int, list[str]]:
        """Different captions of each class, at most ``most``, the first; for a decoder that is told a class only."""
        found: dict[int, dict[str, None]] = {}
        for shard in self._shards:
            places = shard.tensors["caption"].tolist()
            for label, place in zip(shard.tensors["labels"].tolist(), places, strict=True):
                known = found.setdefault(label, {})
                if label >= 0 and shard.captions[place] and len(known) < most:
                    known[shard.captions[place]] = None
        return {label: list(known) for label, known in sorted(found.items()) if known}

    def _find(self, row: int) -> tuple[_Shard, int]:
        place = bisect_right(self._starts, row) - 1
        return self._shards[place], row - self._starts[place]

    def _latents(
        self, rows: Sequence[int], found: Sequence[tuple[_Shard, int]], draw: tuple[int, int] | None
    ) -> Float[Tensor, "n K c"]:
        mean = _stack("mean", found).float()
        if draw is None or self.manifest.kind != "kl":
            return mean
        noise = torch.stack([_noise(*draw, int(row), mean.shape[1:]) for row in rows])
        return mean + (_stack("log_variance", found).float() / 2).exp() * noise


def _stack(name: str, found: Sequence[tuple[_Shard, int]]) -> Tensor:
    return torch.stack([shard.tensors[name][i] for shard, i in found])


def _noise(seed: int, epoch: int, row: int, shape: Sequence[int]) -> Tensor:
    bits = np.random.SeedSequence([seed, epoch, row])
    values = np.random.Generator(np.random.PCG64(bits)).standard_normal(math.prod(shape), dtype=np.float32)
    return torch.from_numpy(values).view(*shape)


class LatentLoader(EndlessLoader):
    """Endless training batches in an order that depends on seed and epoch only; resumable at any batch.

    Args:
        cache: the rows.
        batch_size, seed, rank, world: as of :class:`~textok.data.ordering.EndlessLoader`.

    Raises:
        ValueError: when an epoch has no full batch.
    """

    def __init__(
        self, cache: LatentCache, *, batch_size: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.cache = cache
        data = f"latent cache: {len(cache)} rows"
        super().__init__(len(cache), data=data, batch_size=batch_size, seed=seed, rank=rank, world=world)

    def __iter__(self) -> "LatentLoader":
        return self

    def __next__(self) -> LatentBatch:
        """The next batch; with a kl tokenizer every epoch draws its latents anew."""
        batch = self.cache.batch(self._rows(self.epoch, self.batch), draw=(self.seed, self.epoch))
        self.epoch, self.batch = self._after(self.epoch, self.batch)
        return batch

    def _epoch_order(self, epoch: int) -> np.ndarray:
        return epoch_order(self.cache.shard_lengths, seed=self.seed, epoch=epoch)

    def _identity(self) -> dict[str, Any]:
        return {
            "data": self.cache.manifest.fingerprint,
            "seed": self.seed,
            "rows_per_step": self.batch_size * self.world,
        }
