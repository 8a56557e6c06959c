"""What is cached of each picture: the settings of a run, and its rows: caption forms, mirrored or not, encoded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from textok.checks import check
from textok.data import BadSampleError, Batch, DataConfig, EvalLoader, Source
from textok.data.held_out import open_train, open_training
from textok.data.latents import Rows, write_shard
from textok.data.samples import SourceSubset
from textok.data.text import CaptionForm, caption_in_form, checked_forms
from textok.display import Progress
from textok.models.tokenizer import TexTok
from textok.pipeline.image_tokenizer import encode_pixels
from textok.pipeline.precision import Precision, inference_dtype, torch_device
from textok.pipeline.stopping import StopRequest
from textok.pipeline.text import CachedText
from textok.writing import write_json

NO_LABEL = -1
Part = Literal["all", "train", "held-out"]


@dataclass(frozen=True, kw_only=True)
class CachingRun:
    """What to cache.

    Attributes:
        tokenizer: shipped name, folder or hub id.
        data: the pictures; its size must be the tokenizer's.
        captions: forms of each caption; every picture has a row for each, encoded with it.
        flip: whether to cache every picture mirrored, too.
        text: whether to keep the token states of the captions, without which only class-conditional generators train.
        shard_pictures: pictures of a shard, which are what a killed run loses at most.
        batch_size: pictures at a time.
        limit: the most pictures, from the first.
        part: "train" or "held-out" takes the pictures that a training on the same data learns from, or holds out.
        text_cache: folder of the caption features; default the user's cache.
        precision: the dtype that the tokenizer computes in; "auto" takes bfloat16 where the processor has it.
        accept_changes: make the shards of pictures and captions that changed anew, instead of naming them and stopping.
    """

    tokenizer: str
    data: DataConfig
    captions: tuple[CaptionForm, ...] = ("given",)
    flip: bool = False
    text: bool = True
    shard_pictures: int = 2048
    batch_size: int = 64
    limit: int | None = None
    part: Part = "all"
    text_cache: str | None = None
    precision: Precision = "auto"
    accept_changes: bool = False

    def __post_init__(self) -> None:
        limits = ("limit",) if self.limit is not None else ()
        check(self, "", "shard_pictures", "batch_size", *limits, at_least=1)
        checked_forms(self.captions)

    def open(self) -> Source:
        """The pictures to cache."""
        if self.part == "all":
            return open_train(self.data) if self.data.split is None else self.data.open()
        parts = open_training(self.data, source=None, split="val")
        return parts.train if self.part == "train" else parts.held_out

    def settings(self, source: Source, *, dtype: torch.dtype) -> dict[str, Any]:
        """What must be the same to go on with a folder."""
        changed = ({} if self.text else {"text": False}) | ({} if self.part == "all" else {"part": self.part})
        return changed | {
            "data": source.fingerprint,
            "split": self.data.split,
            "size": list(self.data.size),
            "captions": list(self.captions),
            "flip": self.flip,
            "shard_pictures": self.shard_pictures,
            "limit": self.limit,
            "crop": "short side resized, centre crop, lanczos",
            "precision": str(dtype).removeprefix("torch."),
        }


def shard_name(number: int, suffix: str = "safetensors") -> str:
    """The file of a shard; that with the suffix json vouches for a finished one until the manifest does."""
    return f"latents-{number:05d}.{suffix}"


class ShardMaker:
    """Makes one shard after another, in this process or in one of many; asked to stop, it leaves the one it is at.

    A shard is pictures to rows: every caption form, and mirrored if asked, each encoded with its caption.
    """

    stop: StopRequest | None = None
    bar: Progress | None = None

    def __init__(self, run: CachingRun, out: Path, *, device: torch.device | str) -> None:
        place = torch_device(str(device))
        model = TexTok.from_pretrained(run.tokenizer).to(place)
        self.run, self.model, self.source, self._out = (
            run,
            model.eval().requires_grad_(False),
            run.open(),
            out,
        )
        count, size = min(len(self.source), run.limit or len(self.source)), run.shard_pictures
        self.shards = [range(first, min(first + size, count)) for first in range(0, count, size)]
        self.text = CachedText(model.config, folder=run.text_cache, device=str(place))
        dtype = inference_dtype(place, run.precision)
        self._autocast = None if dtype == torch.float32 else dtype
        self.settings = run.settings(self.source, dtype=dtype) | {"text_encoder": self.text.fingerprint}

    def __call__(self, number: int) -> dict[str, Any]:
        """Make a shard; returns the pictures that the policy leaves out."""
        source = SourceSubset(self.source, self.shards[number])
        loader = EvalLoader(self.run.data, batch_size=self.run.batch_size, source=source)
        forms = [caption_in_form(c, form) for c in _first_captions(source) for form in self.run.captions]
        self.text.warm(forms, progress=False)
        looks = [(form, way) for form in self.run.captions for way in (False, True)[: 1 + self.run.flip]]
        parts = [self._no_rows()]  # so that a shard of bad pictures is an empty one
        for batch in loader:
            if self.stop is not None and self.stop.asked:
                return {"left_out": []}
            parts += [self._encoded(batch, form, mirrored=mirrored) for form, mirrored in looks]
            if self.bar is not None:
                self.bar.update(len(batch))
        rows = replace(_joined(parts), contents=loader.contents)
        entry = write_shard(self._out / shard_name(number), rows, text_dim=self.model.config.text_dim)
        write_json(self._out / shard_name(number, "json"), entry)
        return {"left_out": [vars(bad) for bad in loader.bad.samples]}

    def _no_rows(self) -> Rows:
        """No rows, of the shapes that this tokenizer gives."""
        config = self.model.config
        latents = torch.zeros(0, config.num_latents, config.latent_dim)
        discrete = self.model.num_codes is not None
        return Rows(
            keys=[],
            captions=[],
            labels=torch.zeros(0, dtype=torch.int64),
            mean=None if discrete else latents,
            log_variance=latents if config.bottleneck.kind == "kl" else None,
            codes=latents[..., 0].long() if discrete else None,
        )

    @torch.inference_mode()
    def _encoded(self, batch: Batch, form: CaptionForm, *, mirrored: bool) -> Rows:
        captions = [caption_in_form(caption, form) for caption in batch.captions]
        text = self.text(captions)
        pixels = batch.images.flip(-1) if mirrored else batch.images
        read = None if self.model.config.placement == "none" else text
        encoding = encode_pixels(self.model, pixels, read, autocast=self._autocast)
        mask = text.mask if self.run.text else torch.zeros_like(text.mask)
        states = [row[present] for row, present in zip(text.embeddings, mask, strict=True)]
        return Rows(
            keys=[f"{key}-mirrored" if mirrored else key for key in batch.keys],
            captions=captions,
            labels=torch.full((len(batch),), NO_LABEL) if batch.labels is None else batch.labels,
            mean=encoding.latents.float().cpu() if encoding.codes is None else None,
            log_variance=None if encoding.log_variance is None else encoding.log_variance.float().cpu(),
            codes=None if encoding.codes is None else encoding.codes.cpu(),
            states=dict(zip(captions, states, strict=True)),
        )


def _first_captions(source: Source) -> Iterator[str]:
    """The caption that each picture is read with."""
    for index in range(len(source)):
        try:
            captions = source.read(index).captions
        except BadSampleError:  # the loader will say so, or stop
            continue
        yield captions[0] if captions else ""


def _joined(parts: Sequence[Rows]) -> Rows:
    """Rows of several batches, at least one, one after another."""

    def column(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat(values)

    return Rows(
        keys=[key for part in parts for key in part.keys],
        captions=[caption for part in parts for caption in part.captions],
        states=dict(item for part in parts for item in part.states.items()),
        **{name: column(name) for name in ("labels", "mean", "log_variance", "codes")},
    )
