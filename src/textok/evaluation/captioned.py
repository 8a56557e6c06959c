"""A fixed set of captioned pictures to evaluate on, and the caption conditions it is evaluated under."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from textok.data.samples import Batch

Caption = str
"""A caption condition: "right" (the picture's own), "none", "wrong" (another picture's), or a variant's name."""

CAPTIONS: tuple[Caption, ...] = ("right", "none", "wrong")


@dataclass(frozen=True, kw_only=True)
class CaptionedPictures:
    """Pictures of one size in a fixed order, each with a key and a caption.

    Attributes:
        split: what the set is called in rows and reports, such as "test-drawing".
        images: uint8 pictures (n, 3, h, w); a memory-mapped tensor does.
        captions: n captions.
        keys: n names.
        variants: further caption conditions by name, n captions each, such as shortened ones.
    """

    split: str
    images: UInt8[Tensor, "n 3 h w"]
    captions: tuple[str, ...]
    keys: tuple[str, ...]
    variants: Mapping[Caption, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = {"images": len(self.images), "captions": len(self.captions), "keys": len(self.keys)}
        counts |= {f"captions '{name}'": len(captions) for name, captions in self.variants.items()}
        if len(set(counts.values())) != 1 or not self.keys:
            raise ValueError(f"{self.split}: got {counts}; expected the same number of each, at least 1")

    @classmethod
    def collect(
        cls, split: str, batches: Iterable[Batch], *, limit: int | None = None
    ) -> "CaptionedPictures":
        """Read whole batches into memory until there are ``limit`` pictures (all of them by default).

        Raises:
            ValueError: when there is no picture.
        """
        kept: list[Batch] = []
        count = 0
        for batch in batches:
            kept.append(batch)
            count += len(batch.keys)
            if limit is not None and count >= limit:
                break
        if not kept:
            raise ValueError(f"{split}: found no picture; expected at least 1")
        return cls(
            split=split,
            images=torch.cat([batch.images for batch in kept])[:limit],
            captions=tuple(caption for batch in kept for caption in batch.captions)[:limit],
            keys=tuple(key for batch in kept for key in batch.keys)[:limit],
        )

    def spread(self, count: int) -> "CaptionedPictures":
        """``count`` pictures taken at even distances; all of them when there are no more than that.

        Their wrong captions are those that they have in the whole set.
        """
        count = min(count, len(self))
        lends = lends_captions(self.captions)
        wrong = {"wrong": self.captions_under("wrong")} if lends else {}
        return replace(self, variants={**self.variants, **wrong}).take(
            [(2 * i + 1) * len(self) // (2 * count) for i in range(count)]
        )

    def take(self, places: Sequence[int]) -> "CaptionedPictures":
        """The pictures at these places, in this order."""
        return replace(
            self,
            images=self.images[list(places)],
            captions=tuple(self.captions[i] for i in places),
            keys=tuple(self.keys[i] for i in places),
            variants={name: tuple(texts[i] for i in places) for name, texts in self.variants.items()},
        )

    def captions_under(self, caption: Caption) -> tuple[str, ...]:
        """The n captions that the model gets under a condition.

        Raises:
            ValueError: for a condition that is neither a usual one nor a variant of this set.
        """
        if caption in self.variants:
            return self.variants[caption]
        if caption not in CAPTIONS:
            known = ", ".join((*CAPTIONS, *self.variants))
            raise ValueError(f"captions: got {caption!r}; expected one of {known}")
        if caption == "right":
            return self.captions
        return ("",) * len(self) if caption == "none" else wrong_captions(self.captions)

    def __len__(self) -> int:
        return len(self.keys)


def lends_captions(captions: Sequence[str]) -> bool:
    """Whether every picture finds another's caption that reads differently from its own."""
    return len({caption for caption in captions if caption.strip()}) > 1


def wrong_captions(captions: Sequence[str]) -> tuple[str, ...]:
    """For each picture the caption half the set further on, or the next one after it that reads differently.

    A blank caption is no caption: it is never lent.

    Raises:
        ValueError: when there are no two different captions.
    """
    if not lends_captions(captions):
        raise ValueError(
            f"wrong captions: got {len(captions)} captions, all the same; expected at least 2 different"
        )
    count = len(captions)
    half = count // 2
    candidates = ((captions[(i + half + step) % count] for step in range(count)) for i in range(count))
    return tuple(
        next(c for c in others if c.strip() and c != own)
        for own, others in zip(captions, candidates, strict=True)
    )
