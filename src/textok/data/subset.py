"""Part of a source, so that a quick look sees all of it."""

from collections.abc import Iterator, Sequence

import numpy as np

from textok.data.samples import RawSample, Source


class SourceSubset(Source):
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

    def read(self, index: int) -> RawSample:
        """The sample at ``index`` of the subset; raises as the source does."""
        return self._source.read(self._places[index])

    def keys(self) -> Iterator[str]:
        """The key of every sample of the subset."""
        every = list(self._source.keys())
        return (every[place] for place in self._places)


def spread(source: Source, count: int | None) -> Source:
    """At most ``count`` samples at even distances; the whole source when it has no more, or for None.

    A source is often sorted, by class for instance: its first samples would be of one kind.
    """
    total = len(source)
    if count is None or count >= total:
        return source
    return SourceSubset(source, [(2 * i + 1) * total // (2 * count) for i in range(count)])
