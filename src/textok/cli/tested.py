"""Options of the evaluation commands: which pictures, and which network reads them."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from tyro.conf import arg

from textok.cli.checks import check_at_least, check_size
from textok.cli.distributed import is_first, note
from textok.cli.options import BadPictures, Data, Limit, Size, Splits
from textok.data import DataConfig, EvalLoader, Source
from textok.data.samples import write_bad
from textok.data.subset import spread
from textok.display import with_progress
from textok.evaluation import networks
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.features import FeatureReader
from textok.evaluation.metrics.semantics import load_semantics
from textok.evaluation.networks import FeatureNetwork


@dataclass(frozen=True, kw_only=True)
class NetworkChoice:
    """Which network the learned metrics read pictures with."""

    network: Literal["effnet_lite2", "inception_2015", "dinov2", "clip"] = "effnet_lite2"
    """its name is part of the metrics' names; effnet_lite2 comes with the package"""
    network_weights: Annotated[str | None, arg(metavar="PATH", help_behavior_hint="")] = None
    """weights of the others: a file (inception_2015), a folder or a hub id (dinov2, clip)"""

    def load(self, device: torch.device) -> FeatureNetwork:
        """The network, ready to use."""
        try:
            network: Any = networks.load_network(self.network, weights=self.network_weights)
        except ImportError as error:  # an extra that is not installed is no bug
            raise ValueError(f"network {self.network}: {error}") from error
        return network.to(device)

    def reader(self, device: torch.device, *, semantics: bool) -> FeatureReader:
        """The network with the judges of captions, where asked."""
        network = self.load(device)
        judges = load_semantics(network, device) if semantics else None
        return FeatureReader(network=network, semantics=judges, device=device)


DEFAULT_NETWORK = NetworkChoice()


@dataclass(frozen=True, kw_only=True)
class TestedPictures(BadPictures):
    """Which pictures to evaluate on."""

    data: Data
    split: Splits = ()
    """parts of the source, such as test-drawing,test-concept; not needed when it has only one"""
    limit: Limit = None
    """number of pictures of each split, spread over it"""
    size: Size = None
    """height and width to resize and crop to"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, limit=self.limit)
        check_size(self.size)

    def open(self) -> dict[str, Source]:
        """The source of every split, by the split's name, or the source's own where it has no splits.

        Raises:
            FileNotFoundError: when nothing is there.
            ValueError: for an unknown layout or split.
        """
        splits: list[str | None] = [*dict.fromkeys(self.split)] or [None]
        names = {split: split or Path(self.data.rstrip("/")).stem for split in splits}
        return {name: self._config(split, (1, 1)).open() for split, name in names.items()}

    def read(
        self,
        name: str,
        source: Source,
        *,
        size: tuple[int, int],
        batch_size: int,
        out: Path | None = None,
    ) -> CaptionedPictures:
        """The pictures of a split; those that are left out are reported, and listed beside ``out``."""
        loader = EvalLoader(
            self._config(None, size), batch_size=batch_size, source=spread(source, self.limit)
        )
        batches = math.ceil(len(loader.source) / batch_size)
        progress = with_progress(loader, batches, unit="batch", title=f"{name}: reading", shown=is_first())
        pictures = CaptionedPictures.collect(name, progress)
        if out is not None and is_first():
            write_bad(out, loader.bad.samples, add=True)
        for bad in loader.bad.samples:
            note(f"left out '{bad.key}' in {bad.shard}: {bad.reason}")
        return pictures

    def _config(self, split: str | None, size: tuple[int, int]) -> DataConfig:
        return DataConfig(
            source=self.data,
            split=split,
            size=size,
            require_captions=False,
            on_bad=self.on_bad,
            max_bad_share=self.max_bad_share,
        )
