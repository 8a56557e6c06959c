"""Random numbers that are the same on every machine and under every Python: integers only, no global state."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")

_MASK = (1 << 64) - 1


class Stream:
    """Endless draws (SplitMix64, Steele et al. 2014) that depend on the parts only, such as a seed and an index."""

    def __init__(self, *parts: object) -> None:
        digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
        self._state = int.from_bytes(digest, "big")

    def below(self, count: int) -> int:
        """A number in ``range(count)``; its bias is under count / 2**64."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((z ^ (z >> 31)) * count) >> 64

    def between(self, low: int, high: int) -> int:
        """A number from ``low`` to ``high``, both included."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        """True in ``percent`` of 100 draws."""
        return self.below(100) < percent

    def choice(self, items: Sequence[T]) -> T:
        """One of the items, each as likely."""
        return items[self.below(len(items))]

    def weighted(self, weights: dict[T, int]) -> T:
        """One of the keys, as likely as its weight says."""
        place = self.below(sum(weights.values()))
        for item, weight in weights.items():
            if place < weight:
                return item
            place -= weight
        raise AssertionError("the weights are positive")

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """The items in random order (Fisher-Yates)."""
        mixed = list(items)
        for last in range(len(mixed) - 1, 0, -1):
            other = self.below(last + 1)
            mixed[last], mixed[other] = mixed[other], mixed[last]
        return mixed
