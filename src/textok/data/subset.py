"""Part of a source, so that a quick look sees all of it."""

from collections.abc import Iterator, Sequence

from textok.data.samples import RawSample
from textok.data.sources import Source


class SourceSubset:
    """Chosen samples of a source, as a source.

    Args:
        source: the whole.
        places: numbers of the samples, in the order that the subset has.
    """

    max_window = None

    def __init__(self, source: Source, places: Sequence[int]) -> None:
        self._source, self._places = source, list(places)
        self.shard_lengths = [len(self._places)]
        self.fingerprint, self.census, self.splits = source.fingerprint, source.census, source.splits

    def __len__(self) -> int:
        return len(self._places)

    def read(self, index: int) -> RawSample:
        """The sample at ``index`` of the subset; raises as the source does."""
        return self._source.read(self._places[index])

    def captions(self) -> Iterator[str]:
        """Every caption of every sample of the subset; reads the samples."""
        for place in self._places:
            yield from self._source.read(place).captions


def spread(source: Source, count: int | None) -> Source:
    """At most ``count`` samples at even distances; the whole source when it has no more, or for None.

    A source is often sorted, by class for instance: its first samples would be of one kind.
    """
    total = len(source)
    if count is None or count >= total:
        return source
    return SourceSubset(source, [(2 * i + 1) * total // (2 * count) for i in range(count)])
