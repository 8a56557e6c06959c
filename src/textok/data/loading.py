"""Batches for training (endless, shuffled, resumable) and for evaluation (ordered, complete)."""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from textok.data.config import BadSampleLedger, DataConfig, read_sample
from textok.data.contents import Content
from textok.data.decoding import ResidentStore, decode_ahead, decode_split
from textok.data.ordering import EndlessLoader, RotatedOrder, draw, epoch_order
from textok.data.samples import BadSample, BadSampleError, Batch, Sample, Source

SIDED = re.compile(r"\b(left|right|text|words?|letters?|numbers?|written|writing|signs?)\b", re.IGNORECASE)
"""Words of captions that are not true of the mirrored picture."""
_REPLACEMENT_TRIES = 100
_CROPS = 16  # sizes of a crop


class TrainLoader(EndlessLoader):
    """Endless training batches of full size; the position can be saved and restored exactly.

    Everything is a pure function of (seed, epoch, batch): the order, which caption of several is drawn
    (by key), which pictures are cropped and mirrored, what replaces a bad sample. Worker processes change nothing.

    ``source`` is open; None opens the one that ``config`` names. Other arguments and errors as of
    :class:`~textok.data.ordering.EndlessLoader`.
    """

    def __init__(
        self,
        config: DataConfig,
        *,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        source: Source | None = None,
    ) -> None:
        self.config = config
        self.source = config.open() if source is None else source
        data = f"{config.source} (split {config.split}): {len(self.source)} samples"
        super().__init__(
            len(self.source), data=data, batch_size=batch_size, seed=seed, rank=rank, world=world
        )
        self.bad = BadSampleLedger(config=config)
        windows = (config.shuffle_shards, self.source.max_window)
        self._window = min((window for window in windows if window is not None), default=None)
        height, width = (round(side / (1 - config.crop)) for side in config.size)
        self._decoding = replace(config, size=(height, width))
        self._store: dict[int, Sample] | ResidentStore = {}
        self._keeps = 3 * len(self.source) * height * width <= config.keep_decoded_mb << 20
        self._decoded: Iterator[dict[int, Sample | BadSample]] | None = None

    def hold(self, device: torch.device) -> None:
        """Hold the whole split on this device from now on; it is decoded first where ``data.resident`` lacks it."""
        assert self.config.resident is not None, "hold: data.resident names the folder"
        folder = decode_split(self.source, self._decoding, self.config.resident)
        self._store = ResidentStore(folder, device=device)

    def __next__(self) -> Batch:
        """The next batch; ``BadSampleError`` on a bad sample, by the policy of the config."""
        decoded: dict[int, Sample | BadSample] = {}
        if not isinstance(self._store, ResidentStore):
            if self._decoded is None:
                self._decoded = decode_ahead(self.source, self._decoding, self._jobs(self.epoch, self.batch))
            decoded = next(self._decoded)
        rows = self._rows(self.epoch, self.batch)
        samples = [self._usable(row, decoded) for row in rows]
        images, captions = zip(*(self._varied(sample) for sample in samples), strict=True)
        self.epoch, self.batch = self._after(self.epoch, self.batch)
        return _batch(samples, images, captions)

    def state_dict(self) -> dict[str, Any]:
        """Position after the batches handed out so far, and the bad samples, as plain JSON values."""
        return super().state_dict() | {"bad": self.bad.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on right after the batch at which ``state`` was saved; errors as of the base class."""
        super().load_state_dict(state)
        self.bad.load_state_dict(state["bad"])
        self.close()

    def close(self) -> None:
        """Stop the worker processes; the next batch starts new ones."""
        self._decoded = None

    def _identity(self) -> dict[str, Any]:
        return {
            "data": self.source.fingerprint,
            "seed": self.seed,
            "samples_per_step": self.batch_size * self.world,
            "shuffle_shards": self._window,
        }

    def _epoch_order(self, epoch: int) -> np.ndarray | RotatedOrder:
        if self._window == 0:
            return RotatedOrder(len(self.source), seed=self.seed, epoch=epoch)
        return epoch_order(self.source.shard_lengths, seed=self.seed, epoch=epoch, window=self._window)

    def _jobs(self, epoch: int, batch: int) -> Iterator[list[int]]:
        while True:
            yield [row for row in self._rows(epoch, batch) if row not in self._store]
            epoch, batch = self._after(epoch, batch)

    def _usable(self, row: int, decoded: dict[int, Sample | BadSample]) -> Sample:
        order = self._order(self.epoch)
        for attempt in range(_REPLACEMENT_TRIES):
            index = row if attempt == 0 else int(order[draw(len(order), self.seed, self.epoch, row, attempt)])
            sample = self._get(index, decoded)
            self.bad.seen += 1
            if isinstance(sample, Sample):
                if self._keeps and isinstance(self._store, dict) and index not in self._store:
                    # A copy of its own: a view would keep the whole job's memory (and its shared file) alive.
                    self._store[index] = replace(sample, image=sample.image.clone())
                return sample
            self.bad.add(sample)
        reason = f"{sample.reason}; and {_REPLACEMENT_TRIES - 1} replacements in a row were bad too"
        raise BadSampleError(BadSample(key=sample.key, shard=sample.shard, reason=reason))

    def _get(self, index: int, decoded: dict[int, Sample | BadSample]) -> Sample | BadSample:
        known = self._store if index in self._store else decoded
        if index in known:
            return known[index]
        try:
            return read_sample(self.source, index, self._decoding)
        except BadSampleError as error:
            return error.bad

    def _varied(self, sample: Sample) -> tuple[UInt8[Tensor, "3 h w"], str]:
        parts, captions = (self.seed, self.epoch, sample.shard, sample.key), sample.captions
        caption = captions[draw(len(captions), *parts, "caption")] if captions else ""
        image = _crop(sample.image, self.config.size, *parts) if self.config.crop else sample.image
        mirrored = self.config.flip and not SIDED.search(caption) and draw(2, *parts, "flip")
        return image.flip(-1) if mirrored else image, caption


def _crop(image: UInt8[Tensor, "3 H W"], size: tuple[int, int], *parts: object) -> UInt8[Tensor, "3 h w"]:
    """A random part of a picture that is larger than ``size``, made as large: never enlarged."""
    sides, step = image.shape[1:], draw(_CROPS + 1, *parts, "crop")
    height, width = (least + (most - least) * step // _CROPS for least, most in zip(size, sides, strict=True))
    top, left = draw(sides[0] - height + 1, *parts, "top"), draw(sides[1] - width + 1, *parts, "left")
    part = image[None, :, top : top + height, left : left + width]
    fitted = torch.nn.functional.interpolate(part.float(), size, mode="bilinear", antialias=True)
    return fitted[0].round().clamp(0, 255).byte()


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Pictures of another source, of its part for training if it has parts, as a share of every training batch."""

    source: str
    share: float

    @classmethod
    def parse(cls, text: str) -> "Mix":
        """From SOURCE:SHARE, such as "scenes:0.5"; ``ValueError`` for anything else."""
        source, _, share = text.rpartition(":")
        with suppress(ValueError):
            if source and 0 < float(share) < 1:
                return cls(source=source, share=float(share))
        raise ValueError(f"mix: got {text!r}, expected SOURCE:SHARE, such as scenes:0.5, a share below 1")

    def count(self, batch_size: int) -> int:
        """How many pictures of a batch they are: at least one, and at least one is not of them."""
        return min(max(1, round(self.share * batch_size)), batch_size - 1)


class MixedLoader:
    """Training batches of two loaders side by side; what a :class:`TrainLoader` promises holds.

    The own one gives the pictures that the training is about and the settings; bad ones of both count together.
    """

    def __init__(self, own: TrainLoader, other: TrainLoader) -> None:
        self._own, self._other, self.hold = own, other, own.hold
        self.config, self.source, self.seed, self.bad = own.config, own.source, own.seed, own.bad
        self.mixed_source, other.bad = other.source, own.bad

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


class EvalLoader:
    """Every sample once, in order, with its first caption; the last batch may be smaller.

    With ``on_bad="skip"`` bad samples are left out and listed in ``bad``; ``contents`` lists what was read. ``source``
    is open; None opens the one that ``config`` names.
    """

    def __init__(self, config: DataConfig, *, batch_size: int, source: Source | None = None) -> None:
        if batch_size < 1:
            raise ValueError(f"EvalLoader: batch_size is {batch_size}; expected at least 1")
        self.config, self.batch_size = config, batch_size
        self.source = config.open() if source is None else source
        self._start_anew()

    def __len__(self) -> int:
        """How many batches there are."""
        return math.ceil(len(self.source) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the first; the lists start anew. ``BadSampleError`` by the policy of the config."""
        self._start_anew()
        rows = range(len(self.source))
        jobs = (list(rows[start : start + self.batch_size]) for start in rows[:: self.batch_size])
        for decoded in decode_ahead(self.source, self.config, jobs):
            self.bad.seen += len(decoded)
            samples = list[Sample]()
            for _, sample in sorted(decoded.items()):
                self.contents.append((sample.key, sample.content))
                if isinstance(sample, BadSample):
                    self.bad.add(sample)
                else:
                    samples.append(sample)
            if samples:
                captions = [s.captions[0] if s.captions else "" for s in samples]
                yield _batch(samples, [s.image for s in samples], captions)

    def _start_anew(self) -> None:
        self.bad = BadSampleLedger(config=self.config)
        self.contents = list[Content]()


def _batch(samples: Sequence[Sample], images: Sequence[torch.Tensor], captions: Sequence[str]) -> Batch:
    labels = [s.label for s in samples if s.label is not None]
    return Batch(
        images=torch.stack(list(images)),
        captions=list(captions),
        keys=[s.key for s in samples],
        labels=torch.tensor(labels) if len(labels) == len(samples) else None,
        facts=tuple(s.facts for s in samples),
        contents=tuple(s.content for s in samples),
    )
