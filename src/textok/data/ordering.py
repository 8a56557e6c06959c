"""In which order samples are seen: a pure function of (seed, epoch), each rank's part of it, and the place in it."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

LoaderT = TypeVar("LoaderT")

_STATE_VERSION = 1


def epoch_order(
    shard_lengths: Sequence[int], *, seed: int, epoch: int, window: int | None = None
) -> np.ndarray:
    """All sample numbers once, (n,) int64: shards in random order, samples shuffled over ``window`` shards.

    A window of all shards (None) is a full shuffle; a smaller one keeps reads local on large sets.
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
    """The numbers below ``count`` in order, from a random one on and around; as an array, but it holds nothing."""

    def __init__(self, count: int, *, seed: int, epoch: int) -> None:
        self._count, self._start = count, draw(count, seed, epoch, "start")

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int | slice) -> np.ndarray:
        return (np.asarray(range(self._count)[place], dtype=np.int64) + self._start) % self._count


def draw(count: int, *parts: object) -> int:
    """A number in ``range(count)`` that depends on ``parts`` only (seed, epoch, key, ...)."""
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count


class EndlessLoader(ABC):
    """Rows in batches of full size, epoch after epoch; the position can be saved and restored exactly.

    In every epoch all ranks together see each row at most once: the ``count % (batch_size * world)`` rows at the end
    of the epoch's order make no full batch and are left out of that epoch. ``ValueError`` when it has no full batch.

    ``count`` rows, which errors call ``data``, are an epoch; ``batch_size`` are a batch on each of ``world`` ranks.
    """

    def __init__(self, count: int, *, data: str, batch_size: int, seed: int, rank: int, world: int) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank is {rank} of {world} ranks; expected 0 <= rank < world")
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world
        self.epoch = self.batch = 0
        self.batches_per_epoch = count // (batch_size * world) if batch_size > 0 else 0
        self._order = lru_cache(maxsize=2)(self._epoch_order)
        if self.batches_per_epoch < 1:
            raise ValueError(
                f"{data}; expected at least batch_size {batch_size} x {world} ranks for one step: lower batch_size or "
                "use more data"
            )

    @abstractmethod
    def _epoch_order(self, epoch: int) -> "np.ndarray | RotatedOrder": ...

    @abstractmethod
    def _identity(self) -> dict[str, Any]: ...

    def __iter__(self: LoaderT) -> LoaderT:
        return self

    def state_dict(self) -> dict[str, Any]:
        """Position after the batches handed out so far, as plain JSON values."""
        place = {"version": _STATE_VERSION, "epoch": self.epoch, "batch": self.batch}
        return place | self._identity()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on right after the batch at which ``state`` was saved; ``ValueError`` when that was of another run."""
        for key, value in {"version": _STATE_VERSION, **self._identity()}.items():
            if state.get(key) != value:
                raise ValueError(
                    f"loader state: {key} is {state.get(key)!r}, but this run has {value!r}; resume with the data, "
                    "seed and batch that it was saved with"
                )
        self.epoch, self.batch = state["epoch"], state["batch"]
        if self.batch >= self.batches_per_epoch:  # the data shrank, which somebody accepted
            self.epoch, self.batch = self.epoch + 1, 0

    def _after(self, epoch: int, batch: int) -> tuple[int, int]:
        return (epoch, batch + 1) if batch + 1 < self.batches_per_epoch else (epoch + 1, 0)

    def _rows(self, epoch: int, batch: int) -> list[int]:
        first = (batch * self.world + self.rank) * self.batch_size
        return [int(row) for row in self._order(epoch)[first : first + self.batch_size]]
