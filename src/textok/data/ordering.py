"""In which order samples are seen: a pure function of (seed, epoch), and each rank's part of it."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def epoch_order(
    shard_lengths: Sequence[int], *, seed: int, epoch: int, window: int | None = None
) -> np.ndarray:
    """A permutation of all samples: shards in random order, samples shuffled over ``window`` shards.

    A window of all shards (None) is a full shuffle; a smaller one keeps reads local on large sets.

    Returns:
        (n,) int64 sample numbers, each once.
    """
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    starts = np.concatenate([[0], np.cumsum(shard_lengths)])
    shards = random.permutation(len(shard_lengths))
    window = len(shards) if window is None else window
    windows = []
    for first in range(0, len(shards), max(1, window)):
        ranges = [np.arange(starts[s], starts[s + 1]) for s in shards[first : first + window]]
        windows.append(random.permutation(np.concatenate(ranges)))
    return np.concatenate(windows)


class RotatedOrder:
    """All numbers below ``count`` in order, from a random one on and around; indexed like the array of them.

    For sources whose samples are independent draws, however many: it holds nothing.
    """

    def __init__(self, count: int, *, seed: int, epoch: int) -> None:
        self._count, self._start = count, draw(count, seed, epoch, "start")

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int | slice) -> np.ndarray:
        return (np.asarray(range(self._count)[place], dtype=np.int64) + self._start) % self._count


def rank_block(count: int, *, rank: int, world: int) -> range:
    """The contiguous part of ``range(count)`` that belongs to ``rank``; the parts cover it all."""
    return range(count * rank // world, count * (rank + 1) // world)


def draw(count: int, *parts: object) -> int:
    """A number in ``range(count)`` that depends on ``parts`` only (seed, epoch, key, ...)."""
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count


def check_position(state: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Check that a saved position is one of the same run.

    Raises:
        ValueError: when something that is expected of it is another value there; names it.
    """
    for key, value in expected.items():
        if state.get(key) != value:
            raise ValueError(
                f"loader state: {key} is {state.get(key)!r}, but this run has {value!r}; resume with the data, seed "
                "and batch that it was saved with"
            )
