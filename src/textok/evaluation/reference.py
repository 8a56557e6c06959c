"""The real pictures that generated ones are set against: pictures, their mean and covariance, or both."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textok.data.files import fingerprint_files
from textok.evaluation.adm import read_adm
from textok.evaluation.metrics.frechet import FeatureStatistics
from textok.evaluation.networks import FeatureNetwork
from textok.evaluation.picture_sets import PictureSet, of_pictures, open_pictures

NEED_PICTURES = (
    "kernel distance, precision, recall, the Fréchet distance along principal directions and floors, "
    "and the copying check"
)
"""Metrics that mean and covariance alone do not give."""


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
    statistics: FeatureStatistics | None

    @classmethod
    def open(cls, name: str, *, split: str | None, size: tuple[int, int]) -> "Reference":
        """Open a source, or an ADM ``.npz`` of pictures, statistics or both; raises as ``open_pictures``."""
        if not name.endswith(".npz") or split is not None:
            return cls(name=name, pictures=open_pictures(name, split=split, size=size), statistics=None)
        file = read_adm(name)
        pictures = None if file.pictures is None else of_pictures(name, file.pictures, size=size)
        return cls(name=name, pictures=pictures, statistics=file.statistics)

    @property
    def settings(self) -> dict[str, Any]:
        """Which pictures these are, for a result file."""
        if self.pictures is not None:
            return self.pictures.settings
        return {
            "data": self.name,
            "fingerprint": fingerprint_files([Path(self.name)], 0),
            "holds": "mean and covariance only",
            "left_out": NEED_PICTURES,
        }

    def check_copying(self, train: str | None) -> None:
        """Check that there are pictures to compare copies with, where training pictures are given.

        Raises:
            ValueError: when there are only mean and covariance.
        """
        if self.pictures is None and train is not None:
            raise ValueError(
                f"train: {self.name} holds mean and covariance only, and the copying check compares with real "
                "pictures; give a reference with pictures, or leave train out"
            )

    def fits(self, network: FeatureNetwork) -> bool:
        """Whether the file's own mean and covariance can be of this network's features.

        Raises:
            ValueError: when they cannot and there are no pictures.
        """
        if self.statistics is None or self.statistics.dim == network.dim:
            return self.statistics is not None
        if self.pictures is None:
            raise ValueError(
                f"{self.name}, mu: got {self.statistics.dim} channels, expected the {network.dim} of {network.name}; "
                "choose the network that the statistics are of by the option network"
            )
        return False
