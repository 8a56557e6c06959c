"""The real pictures that generated ones are set against: pictures, their mean and covariance, or both."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textok.cli.distributed import note
from textok.cli.picture_sets import PictureSet, of_pictures, open_pictures

if TYPE_CHECKING:
    from textok.evaluation.metrics.frechet import FeatureStatistics
    from textok.evaluation.networks import FeatureNetwork

NEED_PICTURES = (
    "kernel distance, precision, recall, the Fréchet distance along principal directions and floors, "
    "and the copying check"
)
"""What mean and covariance alone do not give."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Real pictures; at least one of ``pictures`` and ``statistics``.

    Attributes:
        name: the source, or the file.
        pictures: None where a file has only their statistics.
        statistics: mean and covariance that a file holds, maybe of more pictures than it holds.
    """

    name: str
    pictures: PictureSet | None
    statistics: "FeatureStatistics | None"

    @classmethod
    def open(cls, name: str, *, split: str | None, size: tuple[int, int]) -> "Reference":
        """Open a source, or an ADM ``.npz`` of pictures, statistics or both; raises as ``open_pictures``."""
        from textok.evaluation.adm import read_adm

        if not name.endswith(".npz") or split is not None:
            return cls(name=name, pictures=open_pictures(name, split=split, size=size), statistics=None)
        found = read_adm(name)
        pictures = None if found.pictures is None else of_pictures(name, found.pictures, size=size)
        return cls(name=name, pictures=pictures, statistics=found.statistics)

    @property
    def settings(self) -> dict[str, Any]:
        """What a reader of the numbers must know."""
        from textok.data.files import fingerprint_files

        if self.pictures is not None:
            return self.pictures.settings
        told = {"holds": "mean and covariance only", "left_out": NEED_PICTURES}
        return {"data": self.name, "fingerprint": fingerprint_files([Path(self.name)], 0), **told}

    def tell_left_out(self, *, train: str | None) -> None:
        """Say on stderr what statistics alone do not give.

        Raises:
            ValueError: when training pictures are to be compared with, which takes pictures here too.
        """
        if self.pictures is not None:
            return
        if train is not None:
            raise ValueError(
                f"train: {self.name} holds mean and covariance only; the copying check compares with real pictures: "
                "give a reference with pictures, or leave train out"
            )
        note(f"{self.name}: holds mean and covariance only; left out: {NEED_PICTURES}")

    def statistics_for(self, network: "FeatureNetwork") -> "FeatureStatistics | None":
        """The file's own mean and covariance, where they can be of this network's features.

        Raises:
            ValueError: when they cannot and there are no pictures.
        """
        if self.statistics is None or self.statistics.dim == network.dim:
            return self.statistics
        told = f"{self.name}, mu: got {self.statistics.dim} channels; {network.name} has {network.dim}"
        if self.pictures is None:
            raise ValueError(f"{told}; choose the network that the statistics are of by the option network")
        note(f"{told}: the Fréchet distance is taken to the pictures of the file")
        return None
