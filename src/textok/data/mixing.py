"""Batches in which a share of the pictures comes from another source."""

from dataclasses import dataclass
from typing import Any

import torch

from textok.data.loading import TrainLoader
from textok.data.samples import Batch


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Pictures of another source in every training batch.

    Attributes:
        source: where they are, see :class:`DataConfig`; of a source with parts that for training.
        share: of each batch, between 0 and 1.
    """

    source: str
    share: float

    @classmethod
    def parse(cls, text: str) -> "Mix":
        """From SOURCE:SHARE, such as "scenes:0.5"; ``ValueError`` for anything else."""
        source, _, share = text.rpartition(":")
        try:
            mix = cls(source=source, share=float(share))
        except ValueError:
            mix = cls(source="", share=0.0)
        if not mix.source or not 0 < mix.share < 1:
            raise ValueError(f"mix: got {text!r}, expected SOURCE:SHARE, such as scenes:0.5, a share below 1")
        return mix

    def count(self, batch_size: int) -> int:
        """How many pictures of a batch they are: at least one, and at least one is not of them."""
        return min(max(1, round(self.share * batch_size)), batch_size - 1)


class MixedLoader:
    """Training batches of two loaders side by side; what a :class:`TrainLoader` promises holds.

    Args:
        own: gives the pictures that the training is about, and the settings.
        other: gives the pictures that come on top; bad ones count with the others.
    """

    def __init__(self, own: TrainLoader, other: TrainLoader) -> None:
        self._own, self._other = own, other
        self.config, self.source, self.seed, self.bad = own.config, own.source, own.seed, own.bad
        self.mixed_source, other.bad = other.source, own.bad

    def hold(self, device: torch.device) -> None:
        """Hold the own pictures on this device, as :meth:`TrainLoader.hold`."""
        self._own.hold(device)

    def __iter__(self) -> "MixedLoader":
        return self

    def __next__(self) -> Batch:
        """The next batch; errors as of :class:`TrainLoader`."""
        own, other = next(self._own), next(self._other)
        labels = None if own.labels is None or other.labels is None else torch.cat([own.labels, other.labels])
        return Batch(
            images=torch.cat([own.images, other.images.to(own.images.device)]),
            captions=own.captions + other.captions,
            keys=own.keys + other.keys,
            labels=labels,
            facts=own.facts + other.facts,
            contents=own.contents,
        )

    def state_dict(self) -> dict[str, Any]:
        """The position in both, and the bad samples of both."""
        return {**self._own.state_dict(), "mix": self._other.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on right after the batch at which ``state`` was saved; errors as of :class:`TrainLoader`."""
        self._other.load_state_dict(state["mix"])
        self._own.load_state_dict(state)

    def close(self) -> None:
        """Stop the worker processes of both."""
        self._own.close()
        self._other.close()
