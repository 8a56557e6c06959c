"""Run a tokenizer over captioned pictures once and keep its latents, so that generators train without it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist

from textok.checks import check
from textok.data import BadSampleError, Batch, DataConfig, EvalLoader, Source
from textok.data.contents import changes_error, stale_parts
from textok.data.held_out import open_train, open_training
from textok.data.latent_shards import (
    MANIFEST,
    Manifest,
    Rows,
    check_shard,
    read_manifest,
    read_shard,
    shard_contents,
    write_manifest,
    write_shard,
)
from textok.data.samples import BadSample, report_bad, write_bad
from textok.data.subset import SourceSubset
from textok.data.text import CaptionForm, caption_in_form, checked_forms
from textok.display import Progress, note
from textok.models.checkpoint import weights_hash
from textok.models.tokenizer import TexTok
from textok.pipeline import passes
from textok.pipeline.precision import Precision, inference_dtype
from textok.pipeline.stopping import StopRequest, polite_stop
from textok.pipeline.text import CachedText
from textok.writing import check_target, write_json, writing_alone

_NO_LABEL = -1
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


@writing_alone
def cache_latents(
    run: CachingRun, out: str | Path, *, device: torch.device | str = "cpu", rank: int = 0, world: int = 1
) -> Manifest | None:
    """Cache, or go on caching; finished shards are verified and kept, damaged ones made again.

    With several ranks each makes every ``world``-th shard, and rank 0 closes the cache when all are there.

    Args:
        run: what to cache.
        out: the folder.
        device: where the tokenizer runs.
        rank: this process's number.
        world: number of processes; they share a process group, which the caller started.

    Returns:
        The manifest, on rank 0 that of the finished cache; None when a rank was asked to stop before.

    Raises:
        ValueError: for another cache in the folder, no usable picture, or settings that do not fit.
        BadSampleError: on a bad picture, by the policy of ``run.data``.
    """
    out = Path(out)
    check_target(out, sources=[run.data.source], overwrite=True)
    model = TexTok.from_pretrained(run.tokenizer).to(device)
    source = run.open()
    count = min(len(source), run.limit or len(source))
    firsts = range(0, count, run.shard_pictures)
    dtype = inference_dtype(device, run.precision)
    settings = run.settings(source, dtype=dtype)
    encoder = _RowEncoder(run, model, device=device, dtype=dtype)
    settings |= {"text_encoder": encoder.text.fingerprint}
    shards = [range(first, min(first + run.shard_pictures, count)) for first in firsts]
    if rank:  # the first one looks whether the data changed
        dist.barrier()
    manifest = _begun_manifest(run, model, settings, out, source=source, shards=shards, write=not rank)
    if world > 1 and not rank:
        dist.barrier()
    own = sum(len(places) for places in shards[rank::world])
    with polite_stop() as stop, Progress(own, unit="image", shown=rank == 0) as bar:
        for number in range(rank, len(shards), world):
            places = shards[number]
            if _is_whole(out, manifest, number):
                bar.update(len(places))
                continue
            rows = encoder.rows(SourceSubset(source, places), bar, stop)
            write_bad(out, encoder.bad, rank=rank, add=True)
            if rows is not None:
                entry = write_shard(out / _shard(number), rows, text_dim=model.config.text_dim)
                write_json(out / _shard(number, "json"), entry)
            if stop.asked:
                break
        stopped = stop.asked
    if world > 1:
        flag = torch.tensor([float(stopped)], device=device)
        dist.all_reduce(flag)  # also waits for the shards of the others
        stopped = bool(flag.item())
    if stopped:
        return None
    if rank == 0:
        return _close_manifest(run, manifest, out, shards=len(shards))
    return manifest


def _shard(number: int, suffix: str = "safetensors") -> str:
    """The file of a shard; that with the suffix json vouches for a finished one until the manifest does."""
    return f"latents-{number:05d}.{suffix}"


def _entry_of(out: Path, manifest: Manifest, number: int) -> Mapping[str, Any] | None:
    """What vouches for a shard: the file beside it, else a manifest that was complete; None before it is made."""
    file = out / _shard(number, "json")
    if file.is_file():
        return json.loads(file.read_text())
    return manifest.shards[number] if manifest.complete else None


def _is_whole(out: Path, manifest: Manifest, number: int) -> bool:
    """Whether a shard is finished and whole; one that was altered is made again."""
    try:
        entry = _entry_of(out, manifest, number)
        if entry is None:
            return False
        check_shard(out, entry)
    except (ValueError, KeyError) as error:
        note(f"made again: {error}")
        return False
    return True


def _begun_manifest(
    run: CachingRun,
    model: TexTok,
    settings: dict[str, Any],
    out: Path,
    *,
    source: Source,
    shards: Sequence[range],
    write: bool,
) -> Manifest:
    """The manifest that the folder has, or a new one; what differs is named where it holds another cache."""
    config = model.config
    new = Manifest(
        tokenizer=model.model_id,
        tokenizer_source=run.tokenizer,
        kind=config.bottleneck.kind,
        num_latents=config.num_latents,
        latent_dim=config.latent_dim,
        num_codes=model.num_codes,
        text_encoder=config.text_encoder,
        text_dim=config.text_dim,
        max_text_tokens=config.max_text_tokens,
        settings=settings,
    )
    if (out / MANIFEST).is_file():
        old = read_manifest(out)
        before, now = ({"tokenizer": weights_hash(one.tokenizer)} | dict(one.settings) for one in (old, new))
        before.setdefault("text_encoder", now["text_encoder"])  # of an earlier version
        changed = [name for name in now | before if now.get(name) != before.get(name)]
        if changed == ["data"]:
            _remove_stale(run, source, shards, old, out)
            write_manifest(out, new)
            return new
        if changed:
            changes = "; ".join(f"{n} was {before.get(n)!r}, is {now.get(n)!r}" for n in changed)
            raise ValueError(f"{out}: holds another cache: {changes}; choose another --out")
        return old
    if write:
        if out.is_dir() and any(not path.name.startswith((".", "latents-")) for path in out.iterdir()):
            raise ValueError(f"{out}: not empty and no latent cache; choose another --out")
        write_manifest(out, new)
    return new


def _remove_stale(
    run: CachingRun, source: Source, shards: Sequence[range], manifest: Manifest, out: Path
) -> None:
    """Remove the shards whose pictures or captions are not what they were; the others get the file that vouches.

    Raises:
        ValueError: when there are such and the run does not accept changes; names them.
    """
    files = [(int(file.stem.rpartition("-")[2]), file) for file in sorted(out.glob("latents-*.safetensors"))]
    own = [shards[number] if number < len(shards) else range(0) for number, _ in files]
    contents = [shard_contents(file) for _, file in files]
    stale, changed = stale_parts(source, list(zip(own, contents, strict=True)))
    if stale and not run.accept_changes:
        raise changes_error(
            out,
            changed,
            remedy="restore it, choose another --out, or make anew what changed by --accept-changes",
        )
    entries = [_entry_of(out, manifest, number) for number, _ in files]
    for place, (number, file) in enumerate(files):
        if place in stale or entries[place] is None:
            (out / _shard(number, "json")).unlink(missing_ok=True)
            file.unlink()
        else:
            write_json(out / _shard(number, "json"), entries[place])


def _close_manifest(run: CachingRun, manifest: Manifest, out: Path, *, shards: int) -> Manifest:
    """Put the entries of all shards, each made or verified just now, into the manifest."""
    entries = [entry for number in range(shards) if (entry := _entry_of(out, manifest, number)) is not None]
    labels = torch.cat([read_shard(out / str(entry["file"]))[0]["labels"] for entry in entries])
    if not len(labels):
        raise ValueError(f"{run.data.source}: no usable picture")
    labelled = bool((labels != _NO_LABEL).all())
    whole = replace(
        manifest,
        shards=entries,
        rows=len(labels),
        pictures=len(labels) // (len(run.captions) * (1 + run.flip)),
        num_classes=int(labels.max()) + 1 if labelled else None,
        complete=True,
    )
    write_manifest(out, whole)
    for number in range(shards):
        (out / _shard(number, "json")).unlink(missing_ok=True)
    return whole


class _RowEncoder:
    """Pictures to rows: every caption form, and mirrored if asked, each encoded with its caption."""

    def __init__(
        self, run: CachingRun, model: TexTok, *, device: torch.device | str, dtype: torch.dtype
    ) -> None:
        self.run, self.model, self.device = run, model.eval().requires_grad_(False), device
        self.text = CachedText(model.config, folder=run.text_cache, device=str(device))
        self.dtype = None if dtype == torch.float32 else dtype
        self.bad: list[BadSample] = []

    def rows(self, source: Source, bar: Progress, stop: StopRequest) -> Rows | None:
        """All rows of some pictures; their captions are encoded first. None when asked to stop before the last.

        Bad pictures that the policy leaves out are reported on stderr.
        """
        forms = [caption_in_form(c, form) for c in _first_captions(source) for form in self.run.captions]
        self.text.warm(forms, progress=False)
        loader = EvalLoader(self.run.data, batch_size=self.run.batch_size, source=source)
        parts = [self._no_rows()]  # so that a shard of bad pictures is an empty one
        for batch in loader:
            if stop.asked:
                return None
            for form in self.run.captions:
                parts.append(self._encoded(batch, form, mirrored=False))
                if self.run.flip:
                    parts.append(self._encoded(batch, form, mirrored=True))
            bar.update(len(batch))
        report_bad(loader.bad.samples)
        self.bad += loader.bad.samples
        return replace(_joined(parts), contents=loader.contents)

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
        encoding = passes.encode_pixels(self.model, pixels, read, autocast=self.dtype)
        mask = text.mask if self.run.text else torch.zeros_like(text.mask)
        states = [row[present] for row, present in zip(text.embeddings, mask, strict=True)]
        return Rows(
            keys=[f"{key}-mirrored" if mirrored else key for key in batch.keys],
            captions=captions,
            labels=torch.full((len(batch),), _NO_LABEL) if batch.labels is None else batch.labels,
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
