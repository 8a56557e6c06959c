"""Part of a source, so that a quick look sees all of it."""

from collections.abc import Iterator, Sequence

import numpy as np

from textok.data.samples import RawSample
from textok.data.sources import Source


class SourceSubset:
    """Chosen samples of a source, as a source.

    Args:
        source: the whole.
        places: numbers of the samples, in the order that the subset has; of a source with a window, ascending.
    """

    def __init__(self, source: Source, places: Sequence[int]) -> None:
        self._source, self._places = source, list(places)
        self.shard_lengths, self.max_window = [len(self._places)], None
        if source.max_window is not None:  # cheap in the order of its shards only
            ends = np.cumsum(source.shard_lengths)
            shards = np.searchsorted(ends, self._places, side="right")
            self.shard_lengths = [count for count in np.bincount(shards).tolist() if count]
            self.max_window = source.max_window
        self.fingerprint, self.census, self.splits = source.fingerprint, source.census, source.splits

    def __len__(self) -> int:
        return len(self._places)

    def read(self, index: int) -> RawSample:
        """The sample at ``index`` of the subset; raises as the source does."""
        return self._source.read(self._places[index])

    def keys(self) -> Iterator[str]:
        """The key of every sample of the subset."""
        every = list(keys_of(self._source))
        return (every[place] for place in self._places)

    def captions(self) -> Iterator[str]:
        """Every caption of every sample of the subset; reads the samples."""
        for place in self._places:
            yield from self._source.read(place).captions


def keys_of(source: Source) -> Iterator[str]:
    """The key of every sample in order; reads the samples of a source that does not list them."""
    listed = getattr(source, "keys", None)
    return (source.read(index).key for index in range(len(source))) if listed is None else listed()


def spread(source: Source, count: int | None) -> Source:
    """At most ``count`` samples at even distances; the whole source when it has no more, or for None.

    A source is often sorted, by class for instance: its first samples would be of one kind.
    """
    total = len(source)
    if count is None or count >= total:
        return source
    return SourceSubset(source, [(2 * i + 1) * total // (2 * count) for i in range(count)])
