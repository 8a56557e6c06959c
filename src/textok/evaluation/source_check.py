"""A dry run over captioned pictures: what would be read, left out, cut, or seen twice."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from textok.data import BadSample, BadSampleError, DataConfig, Source, decode_image
from textok.data.images import ImageError, is_animated, stored_size
from textok.data.samples import RawSample
from textok.display import Progress
from textok.models.text_encoder import token_counts

_BANDS = 4
_SIDE = 32
_COLOUR_STEP = 8


class _Looks(NamedTuple):
    # What is kept of a picture: its stored height and width, a hash of its bytes, whether brightness falls from each
    # of 8 x 9 cells to the next, and the mean colour in coarse steps.

    key: str
    size: tuple[int, int]
    digest: bytes
    bits: int
    colour: tuple[int, ...]


@dataclass(kw_only=True)
class SourceCheck:
    """The outcome of a dry run."""

    census: dict[str, Any]
    """what is read and what is passed over"""
    looks: list[_Looks] = field(default_factory=list)
    """one for each good picture"""
    bad: list[BadSample] = field(default_factory=list)
    captions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """all of them, by key"""
    animated: list[str] = field(default_factory=list)
    """keys of pictures of which only the first frame is read"""

    def add(self, raw: RawSample, *, max_pixels: int) -> None:
        """Count one sample; an unreadable picture becomes a bad one."""
        if not isinstance(raw.image, bytes):
            raise ValueError(f"{raw.shard}: its pictures are drawn, not stored; there is nothing to check")
        try:
            small = decode_image(raw.image, (_SIDE, _SIDE), max_pixels=max_pixels)
            size = stored_size(raw.image)
            if is_animated(raw.image):
                self.animated.append(raw.key)
        except ImageError as error:
            self.bad.append(BadSample(key=raw.key, shard=raw.shard, reason=str(error)))
            return
        digest = hashlib.blake2b(raw.image, digest_size=16).digest()
        bits, colour = _outline(small)
        self.looks.append(_Looks(raw.key, size, digest, bits, colour))
        self.captions[raw.key] = raw.captions

    def repeats(self) -> list[list[str]]:
        """Keys of pictures with the very same bytes."""
        groups: dict[bytes, list[str]] = {}
        for one in self.looks:
            groups.setdefault(one.digest, []).append(one.key)
        return [keys for keys in groups.values() if len(keys) > 1]

    def near_repeats(self) -> list[tuple[str, str]]:
        """Pairs that look alike but are not the same bytes: outlines differ in at most 3 of 64 bits."""
        bands: dict[tuple[Any, ...], list[_Looks]] = {}
        pairs: dict[tuple[str, str], None] = {}
        for one in self.looks:
            for band in range(_BANDS):  # outlines that differ in fewer bits than there are bands share one
                place = (band, (one.bits >> (16 * band)) & 0xFFFF, one.colour)
                for other in bands.get(place, ())[:100]:
                    close = (one.bits ^ other.bits).bit_count() < _BANDS and one.bits
                    if close and one.digest != other.digest:
                        pairs[other.key, one.key] = None
                bands.setdefault(place, []).append(one)
        return list(pairs)

    def facts(self, *, size: tuple[int, int], text_encoder: str, max_tokens: int) -> dict[str, Any]:
        """All of it as plain JSON values, for a model of this picture size and text encoder."""
        texts = [text for texts in self.captions.values() for text in texts]
        counts = token_counts(text_encoder, texts)
        cut = [text for text, count in zip(texts, counts, strict=True) if count > max_tokens]
        small = [one.key for one in self.looks if min(one.size) < min(size)]
        return {
            "census": self.census,
            "pictures": len(self.looks),
            "bad": [vars(bad) for bad in self.bad],
            "captioned": sum(map(bool, self.captions.values())),
            "captions": len(texts),
            "caption_tokens": _spread(counts),
            "captions_cut": {"limit": max_tokens, "count": len(cut), "first": cut[:3]},
            "heights": _spread([one.size[0] for one in self.looks]),
            "widths": _spread([one.size[1] for one in self.looks]),
            "smaller_than_model": {"size": list(size), "count": len(small), "first": small[:3]},
            "cropped_share": sum(_cropped(one.size, size) for one in self.looks) / max(1, len(self.looks)),
            "animated": self.animated,
            "repeats": self.repeats(),
            "near_repeats": [list(pair) for pair in self.near_repeats()],
        }


def check_source(config: DataConfig, *, limit: int | None = None) -> tuple[SourceCheck, Source]:
    """Read and decode every sample of a source, at most ``limit``; bad ones are listed, whatever the policy."""
    source = config.open(all_parts=True)
    check = SourceCheck(census=source.census.facts())
    total = min(len(source), limit or len(source))
    with Progress(total, unit="image") as progress:
        for index in range(total):
            try:
                check.add(source.read(index), max_pixels=config.max_pixels)
            except BadSampleError as error:
                check.bad.append(error.bad)
            progress.update()
    return check, source


def _outline(picture: UInt8[Tensor, "3 s s"]) -> tuple[int, tuple[int, ...]]:
    gray = picture.float().mean(0, keepdim=True)
    cells = torch.nn.functional.adaptive_avg_pool2d(gray, (8, 9))[0]
    bits = (cells[:, 1:] < cells[:, :-1] - 1).flatten().tolist()  # a step of 1 in 255 is noise
    colour = (picture.float().mean((1, 2)) / _COLOUR_STEP).round().int().tolist()
    return sum(1 << place for place, bit in enumerate(bits) if bit), tuple(colour)


def _spread(values: Sequence[int]) -> dict[str, int]:
    ordered = sorted(values) or [0]
    return {"least": ordered[0], "median": ordered[len(ordered) // 2], "most": ordered[-1]}


def _cropped(stored: tuple[int, int], size: tuple[int, int]) -> float:
    ratio = (stored[0] * size[1]) / (stored[1] * size[0])
    return 1 - min(ratio, 1 / ratio)
