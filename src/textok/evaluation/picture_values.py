"""Values of the pictures of a set, collected in batches and by several ranks, and put into the order of the set."""

from collections.abc import Mapping
from math import fsum, isnan

import torch
import torch.distributed as dist
from jaxtyping import Int, Shaped
from torch import Tensor


class PictureValues:
    """Columns of values by name, with one row per picture, in main memory."""

    def __init__(self) -> None:
        self._indices: list[Tensor] = []
        self._columns: dict[str, list[Tensor]] = {}

    def add(self, indices: Int[Tensor, "b"], columns: Mapping[str, Shaped[Tensor, "b ..."]]) -> None:
        """Add the pictures at the positions ``indices`` of the set."""
        self._indices.append(indices.cpu())
        for name, values in columns.items():
            self._columns.setdefault(name, []).append(values.cpu())

    def gather(self) -> None:
        """Bring the pictures of all ranks together, on every rank; a collective call."""
        parts: list = [None] * dist.get_world_size()
        dist.all_gather_object(parts, (self._indices, self._columns))
        self._indices = [indices for rank_indices, _ in parts for indices in rank_indices]
        names = dict.fromkeys(name for _, columns in parts for name in columns)
        self._columns = {name: [v for _, columns in parts for v in columns.get(name, [])] for name in names}

    def in_order(self) -> dict[str, Shaped[Tensor, "n ..."]]:
        """The columns, in the order of the set."""
        order = torch.cat(self._indices).argsort()
        return {name: torch.cat(values)[order] for name, values in self._columns.items()}


def means(columns: Mapping[str, Shaped[Tensor, "n"]]) -> dict[str, float]:
    """The mean of every column over the pictures that have a value, which is not NaN."""
    row = {}
    for name, column in columns.items():
        values = [value for value in column.tolist() if not isnan(value)]
        row[name] = fsum(values) / len(values)  # fsum: the mean does not depend on the order
    return row
