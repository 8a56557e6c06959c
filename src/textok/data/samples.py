"""The one sample schema: what every source hands out, what a batch holds, and how a bad sample is told."""

from dataclasses import dataclass

from jaxtyping import Int, UInt8
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RawSample:
    """A stored sample, not decoded yet.

    Attributes:
        key: name of the sample, unique within its shard.
        shard: file that holds it; error messages name it.
        image: the encoded picture (WebP, PNG, JPEG, ...).
        captions: none, one or several captions of the same picture.
        label: class label, if the source has one.
    """

    key: str
    shard: str
    image: bytes
    captions: tuple[str, ...] = ()
    label: int | None = None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A decoded sample: ``image`` is RGB of the asked size, 0..255; the rest as in :class:`RawSample`."""

    key: str
    shard: str
    image: UInt8[Tensor, "3 h w"]
    captions: tuple[str, ...] = ()
    label: int | None = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples side by side.

    Attributes:
        images: (b, 3, h, w), RGB, 0..255, contiguous.
        captions: b captions; "" stands for no caption.
        keys: b sample names.
        labels: (b,), or None unless every sample has a label.
    """

    images: UInt8[Tensor, "b 3 h w"]
    captions: list[str]
    keys: list[str]
    labels: Int[Tensor, "b"] | None = None

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, kw_only=True)
class BadSample:
    """A sample that cannot be used: where it is and why."""

    key: str
    shard: str
    reason: str


class BadSampleError(ValueError):
    """A sample cannot be used: unreadable picture, no caption, too many pixels, ...

    Attributes:
        bad: key, shard and reason.
    """

    def __init__(self, bad: BadSample) -> None:
        super().__init__(f"sample '{bad.key}' in {bad.shard}: {bad.reason}")
        self.bad = bad

    def __reduce__(self) -> tuple[type["BadSampleError"], tuple[BadSample]]:
        return BadSampleError, (self.bad,)
