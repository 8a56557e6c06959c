"""A fixed set of captioned pictures to evaluate on, and the caption conditions it is evaluated under."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from textok.data import DataConfig, EvalLoader
from textok.data.samples import Batch, report_bad

CaptionCondition = str
"""The caption that the model reads: "right" (the picture's own), "none", "wrong" (another's), or that of a variant."""

CONDITIONS: tuple[CaptionCondition, ...] = ("right", "none", "wrong")


@dataclass(frozen=True, kw_only=True)
class CaptionedPictures:
    """Pictures of one size in a fixed order, each with a key and a caption.

    ``split`` is the name of the set in rows and reports, such as "test-drawing"; ``variants`` are further caption
    conditions by name, n captions each, such as shortened ones.
    """

    split: str
    images: UInt8[Tensor, "n 3 h w"]
    captions: tuple[str, ...]
    keys: tuple[str, ...]
    variants: Mapping[CaptionCondition, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = {"images": len(self.images), "captions": len(self.captions), "keys": len(self.keys)}
        counts |= {f"captions '{name}'": len(captions) for name, captions in self.variants.items()}
        if len(set(counts.values())) != 1 or not self.keys:
            raise ValueError(f"{self.split}: got {counts}, expected the same number of each, at least 1")

    @classmethod
    def collect(
        cls, split: str, batches: Iterable[Batch], *, limit: int | None = None
    ) -> "CaptionedPictures":
        """Read batches into memory until there are ``limit`` pictures; ``ValueError`` when there is none."""
        parts: list[Batch] = []
        for batch in batches:
            parts.append(batch)
            if limit is not None and sum(map(len, parts)) >= limit:
                break
        if not parts:
            raise ValueError(f"{split}: got no picture, expected at least 1")
        return cls(
            split=split,
            images=torch.cat([batch.images for batch in parts])[:limit],
            captions=tuple(caption for batch in parts for caption in batch.captions)[:limit],
            keys=tuple(key for batch in parts for key in batch.keys)[:limit],
        )

    @classmethod
    def open(
        cls,
        source: str,
        *,
        split: str | None = None,
        name: str | None = None,
        side: int,
        limit: int | None = None,
        out: Path | None = None,
        **policy: Any,
    ) -> "CaptionedPictures":
        """The first ``limit`` pictures of a source, resized and cropped to squares of ``side`` pixels.

        A source that has only one part needs no ``split``. ``name`` is that of the set in rows and reports, by default
        the split's. Bad pictures are listed beside ``out``; the ``policy`` about them is ``on_bad`` and
        ``max_bad_share`` of :class:`textok.data.DataConfig`.
        """
        config = DataConfig(source=source, split=split, size=(side, side), **policy)
        loader = EvalLoader(config, batch_size=min(64, limit or 64))
        pictures = cls.collect(name or split or source, loader, limit=limit)
        report_bad(loader.bad.samples, out)
        return pictures

    def batches(self, size: int) -> Iterator[Batch]:
        """The pictures in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            yield Batch(images=self.images[rows], captions=[*self.captions[rows]], keys=[*self.keys[rows]])

    def spread(self, count: int) -> "CaptionedPictures":
        """At most ``count`` pictures at even distances, with the wrong captions that they have in the whole set."""
        count = min(count, len(self))
        wrong = {"wrong": self.captions_under("wrong")} if lends_captions(self.captions) else {}
        places = [(2 * i + 1) * len(self) // (2 * count) for i in range(count)]
        return replace(self, variants={**self.variants, **wrong}).take(places)

    def take(self, indices: Sequence[int]) -> "CaptionedPictures":
        """The pictures at these positions, in this order."""
        return replace(
            self,
            images=self.images[list(indices)],
            captions=tuple(self.captions[i] for i in indices),
            keys=tuple(self.keys[i] for i in indices),
            variants={name: tuple(texts[i] for i in indices) for name, texts in self.variants.items()},
        )

    def captions_under(self, condition: CaptionCondition) -> tuple[str, ...]:
        """The n captions that the model gets under a condition; ``ValueError`` for an unknown one."""
        if condition in self.variants:
            return self.variants[condition]
        if condition not in CONDITIONS:
            expected = ", ".join((*CONDITIONS, *self.variants))
            raise ValueError(f"captions: got {condition!r}, expected one of {expected}")
        if condition == "right":
            return self.captions
        return ("",) * len(self) if condition == "none" else wrong_captions(self.captions)

    def __len__(self) -> int:
        return len(self.keys)


def lends_captions(captions: Sequence[str]) -> bool:
    """Whether every picture can get another's caption that reads differently from its own."""
    return len({caption for caption in captions if caption.strip()}) > 1


def wrong_captions(captions: Sequence[str]) -> tuple[str, ...]:
    """For each picture the caption half the set further on, or the next that reads differently and is not blank."""
    if not lends_captions(captions):
        raise ValueError(
            f"wrong captions: got {len(captions)} captions, all the same, expected at least 2 different"
        )
    count, wrong = len(captions), []
    for i, own in enumerate(captions):
        others = (captions[(i + count // 2 + step) % count] for step in range(count))
        wrong.append(next(caption for caption in others if caption.strip() and caption != own))
    return tuple(wrong)


def usable_conditions(
    pictures: CaptionedPictures, conditions: Sequence[CaptionCondition]
) -> tuple[list[CaptionCondition], str]:
    """The conditions that these pictures' captions allow (["none"] when there is no other), and why not the others."""
    captions = pictures.captions
    captioned = any(caption.strip() for caption in captions)
    special = {"none": True, "wrong": lends_captions(captions)}
    usable = [name for name in conditions if special.get(name, captioned)]
    if not captioned:
        return usable or ["none"], "the pictures have no captions"
    return usable or ["none"], "all captions say the same"
