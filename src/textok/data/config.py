"""One sample, from its stored bytes to pixels, with every check; and what is kept of bad ones."""

from dataclasses import dataclass, field
from typing import Any, Literal

from textok.checks import check, check_choice
from textok.data.contents import content_of
from textok.data.files import announce
from textok.data.images import DEFAULT_MAX_PIXELS, ImageError, Resample, decode_image
from textok.data.records import CaptionedSource, Fields, read_caption_file
from textok.data.samples import BadSample, BadSampleError, Sample, Source, SplitError
from textok.data.sources import open_source


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which samples to read and how.

    Attributes:
        source: where the pictures are, "scenes" or "icons" for drawn ones, see :func:`textok.data.sources.open_source`.
        split: part of the source; None for all of it.
        captions: captions by key in a file (.parquet, .jsonl, .json) or a folder of ``textok caption``, in place of
            those of the source.
        size: (height, width) of the pictures.
        image_field: column (tables) or file ending (tars) of the picture, if not a usual one.
        caption_field: field with the caption or captions, if not captions, caption or text.
        label_field: field with the integer class label, if not label or cls.
        resample: antialiased resize filter.
        flip: mirror half of the pictures in training, but none whose caption names a side, writing or signs.
        crop: in training, cut away at most this share of each side, at a random place; 0 takes the whole picture.
        require_captions: a sample without a caption is bad.
        max_pixels: limit on a stored picture's width x height, checked before decoding.
        on_bad: "stop" raises at the first bad sample, "skip" counts and replaces it.
        max_bad_share: with "skip", the run stops when more than this share of the samples seen is bad.
        bad_grace: so many bad samples are let pass before the share is judged.
        shuffle_shards: samples are shuffled within windows of so many shards; None = the whole set.
        keep_decoded_mb: keep decoded pictures in memory when the whole split fits in so many MiB.
        workers: processes that read and decode ahead; the batches do not depend on it.
        resident: folder where the whole split is kept decoded, as one array for each split and size; the training then
            holds it in the memory of its device, and decodes nothing. A CPU maps the file.
    """

    source: str
    split: str | None = None
    captions: str | None = None
    size: tuple[int, int] = (128, 128)
    image_field: str | None = None
    caption_field: str | None = None
    label_field: str | None = None
    resample: Resample = "lanczos"
    flip: bool = False
    crop: float = 0.0
    require_captions: bool = False
    max_pixels: int = DEFAULT_MAX_PIXELS
    on_bad: Literal["stop", "skip"] = "stop"
    max_bad_share: float = 0.01
    bad_grace: int = 10
    shuffle_shards: int | None = None
    keep_decoded_mb: int = 1024
    workers: int = 0
    resident: str | None = None

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"DataConfig.size: got {self.size}, expected two positive integers")
        check_choice(self, "DataConfig", resample=("lanczos", "bicubic"), on_bad=("stop", "skip"))
        windows = () if self.shuffle_shards is None else ("shuffle_shards",)
        check(self, "DataConfig", "max_pixels", *windows, at_least=1)
        check(self, "DataConfig", "crop", at_least=0, below=0.5)
        check(self, "DataConfig", "max_bad_share", at_least=0, at_most=1)
        check(self, "DataConfig", "bad_grace", "keep_decoded_mb", "workers", at_least=0)

    def open(self, *, all_parts: bool = False) -> Source:
        """Open the source with these field names, and print in one line what is passed over, if anything is.

        ``SplitError`` when the source has parts and no split names one, unless ``all_parts`` are to be taken, which
        what learns or scores must not mix; other errors as :func:`textok.data.sources.open_source`.
        """
        fields = Fields(image=self.image_field, caption=self.caption_field, label=self.label_field)
        source = open_source(self.source, self.split, fields=fields, on_bad=self.on_bad)
        if source.splits and not all_parts:
            raise SplitError(self.source, None, source.splits)
        if source.splits:
            counts = ", ".join(f"{name} {count:,}" for name, count in source.splits.items())
            source.census.notes.append(f"all parts are taken: {counts}")
        announce(self.source, source.census)
        if self.captions is None:
            return source
        return CaptionedSource(source, read_caption_file(self.captions))


def read_sample(source: Source, index: int, config: DataConfig) -> Sample:
    """Read and decode one; ``BadSampleError`` when it is unreadable, over the pixel limit, or lacks its caption."""
    raw = source.read(index)
    content = content_of(raw)
    try:
        if config.require_captions and not raw.captions:
            raise ImageError("no caption (require_captions)")
        if isinstance(raw.image, bytes):
            image = decode_image(
                raw.image, config.size, max_pixels=config.max_pixels, resample=config.resample
            )
        else:
            image = raw.image.draw(config.size)
    except ImageError as error:
        bad = BadSample(key=raw.key, shard=raw.shard, reason=str(error), content=content)
        raise BadSampleError(bad) from error
    return Sample(**vars(raw) | {"image": image, "content": content})


@dataclass(kw_only=True)
class BadSampleLedger:
    """Counts all samples tried and each meeting with a bad one, and stops the run by the policy of its config."""

    config: DataConfig
    seen: int = 0
    count: int = 0
    _samples: dict[tuple[str, str], BadSample] = field(default_factory=dict, init=False)

    @property
    def samples(self) -> list[BadSample]:
        """Each bad sample once, in order of first meeting."""
        return list(self._samples.values())

    def add(self, bad: BadSample) -> None:
        """Record one more meeting; ``BadSampleError`` with ``on_bad="stop"``, or when the share is over the limit."""
        if self.config.on_bad == "stop":
            raise BadSampleError(bad)
        self.count += 1
        self._samples.setdefault((bad.shard, bad.key), bad)
        if self.count > self.config.bad_grace and self.count > self.config.max_bad_share * self.seen:
            reason = (
                f"{bad.reason}; now {self.count} of {self.seen} samples were bad, over the limit of "
                f"{self.config.max_bad_share:.2%} (max_bad_share)"
            )
            raise BadSampleError(BadSample(key=bad.key, shard=bad.shard, reason=reason))

    def state_dict(self) -> dict[str, Any]:
        """Counts and list as plain JSON values."""
        return {"seen": self.seen, "count": self.count, "samples": [vars(bad) for bad in self.samples]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from saved counts."""
        self.seen, self.count = state["seen"], state["count"]
        self._samples = {(bad["shard"], bad["key"]): BadSample(**bad) for bad in state["samples"]}
