"""Scenes: pictures composed from drawings, with captions at three densities and the facts behind both."""

NAMES = ("scenes", "scenes-foreign", "icons")


def is_drawn(source: object) -> bool:
    """Whether a name stands for pictures that are drawn here: "scenes", "scenes:dense,seed=1", "icons"."""
    return isinstance(source, str) and source.partition(":")[0] in NAMES
