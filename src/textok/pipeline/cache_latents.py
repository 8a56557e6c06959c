"""Run a tokenizer over captioned pictures once and keep its latents, so that generators train without it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from textok.data import latents as stored
from textok.data.contents import changes_error, stale_parts
from textok.data.latents import MANIFEST, Manifest
from textok.data.samples import BadSample, report_bad, write_bad
from textok.display import Progress, note
from textok.locking import writing_alone
from textok.models.checkpoint import weights_hash
from textok.pipeline.cache_rows import NO_LABEL, CachingRun, ShardMaker, shard_name
from textok.pipeline.stopping import polite_stop
from textok.scale import Engine
from textok.writing import check_target, write_json


@writing_alone
def cache_latents(
    run: CachingRun,
    out: str | Path,
    *,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world: int = 1,
    engine: Engine | None = None,
) -> Manifest | None:
    """Cache, or go on caching; finished shards are verified and kept, damaged ones made again.

    With several ranks, which share a process group that the caller started, each makes every ``world``-th shard, and
    rank 0 closes the cache when all are there. An ``engine`` makes the shards elsewhere.

    Returns:
        The manifest, on rank 0 that of the finished cache; None when a rank was asked to stop before.

    Raises:
        ValueError: for another cache in the folder, no usable picture, or settings that do not fit.
        BadSampleError: on a bad picture, by the policy of ``run.data``.
    """
    out = Path(out)
    check_target(out, sources=[run.data.source], overwrite=True)
    work = ShardMaker(run, out, device=str(device))
    if rank:  # the first one looks whether the data changed
        dist.barrier()
    manifest = _begun_manifest(run, work, out, write=not rank)
    if world > 1 and not rank:
        dist.barrier()
    own = sum(map(len, work.shards[rank::world]))
    missing = [n for n in range(rank, len(work.shards), world) if not _is_whole(out, manifest, n)]
    here = ((number, work(number)) for number in missing)
    make = partial(ShardMaker, replace(run, precision=work.settings["precision"]), out, device=device)
    with polite_stop() as work.stop, Progress(own, unit="image", shown=rank == 0) as work.bar:
        work.bar.update(own - sum(len(work.shards[number]) for number in missing))
        for number, known in engine(make, missing) if engine and missing else here:
            left_out = [BadSample(**bad) for bad in known["left_out"]]
            report_bad(left_out)
            write_bad(out, left_out, rank=rank, add=True)
            work.bar.update(len(work.shards[number]) if engine else 0)
            if work.stop.asked:
                break
    if work.stop.agreed(device):  # also waits for the shards of the others
        return None
    if rank == 0:
        return _close_manifest(run, manifest, out, shards=len(work.shards))
    return manifest


def _entry_of(out: Path, manifest: Manifest, number: int) -> Mapping[str, Any] | None:
    """What vouches for a shard: the file beside it, else a manifest that was complete; None before it is made."""
    file = out / shard_name(number, "json")
    if file.is_file():
        return json.loads(file.read_text())
    return manifest.shards[number] if manifest.complete else None


def _is_whole(out: Path, manifest: Manifest, number: int) -> bool:
    """Whether a shard is finished and whole; one that was altered is made again."""
    try:
        entry = _entry_of(out, manifest, number)
        if entry is not None:
            stored.check_shard(out, entry)
    except (ValueError, KeyError) as error:
        note(f"made again: {error}")
        return False
    return entry is not None


def _begun_manifest(run: CachingRun, work: ShardMaker, out: Path, *, write: bool) -> Manifest:
    """The manifest that the folder has, or a new one; what differs is named where it holds another cache."""
    model, config = work.model, work.model.config
    same = ("num_latents", "latent_dim", "text_encoder", "text_dim", "max_text_tokens")
    new = Manifest(
        tokenizer=model.model_id,
        tokenizer_source=run.tokenizer,
        kind=config.bottleneck.kind,
        num_codes=model.num_codes,
        settings=work.settings,
        **{name: getattr(config, name) for name in same},
    )
    if (out / MANIFEST).is_file():
        old = stored.read_manifest(out)
        before, now = ({"tokenizer": weights_hash(one.tokenizer)} | dict(one.settings) for one in (old, new))
        before.setdefault("text_encoder", now["text_encoder"])  # of an earlier version
        changed = [name for name in now | before if now.get(name) != before.get(name)]
        if changed == ["data"]:
            _remove_stale(run, work, old, out)
            stored.write_manifest(out, new)
            return new
        if changed:
            changes = "; ".join(f"{n} was {before.get(n)!r}, is {now.get(n)!r}" for n in changed)
            raise ValueError(f"{out}: holds another cache: {changes}; choose another --out")
        return old
    if write:
        if out.is_dir() and any(not path.name.startswith((".", "latents-")) for path in out.iterdir()):
            raise ValueError(f"{out}: not empty and no latent cache; choose another --out")
        stored.write_manifest(out, new)
    return new


def _remove_stale(run: CachingRun, work: ShardMaker, manifest: Manifest, out: Path) -> None:
    """Remove the shards whose pictures or captions are not what they were; the others get the file that vouches."""
    files = [(int(file.stem.rpartition("-")[2]), file) for file in sorted(out.glob("latents-*.safetensors"))]
    own = [work.shards[number] if number < len(work.shards) else range(0) for number, _ in files]
    contents = [stored.read_shard(file).contents for _, file in files]
    stale, changed = stale_parts(work.source, list(zip(own, contents, strict=True)))
    if stale and not run.accept_changes:
        remedy = "restore it, choose another --out, or make anew what changed by --accept-changes"
        raise changes_error(out, changed, remedy=remedy)
    entries = [_entry_of(out, manifest, number) for number, _ in files]
    for place, (number, file) in enumerate(files):
        if place in stale or entries[place] is None:
            (out / shard_name(number, "json")).unlink(missing_ok=True)
            file.unlink()
        else:
            write_json(out / shard_name(number, "json"), entries[place])


def _close_manifest(run: CachingRun, manifest: Manifest, out: Path, *, shards: int) -> Manifest:
    """Put the entries of all shards, each made or verified just now, into the manifest."""
    entries = [entry for number in range(shards) if (entry := _entry_of(out, manifest, number)) is not None]
    labels = torch.cat([stored.read_shard(out / str(entry["file"])).tensors["labels"] for entry in entries])
    if not len(labels):
        raise ValueError(f"{run.data.source}: no usable picture")
    labelled = bool((labels != NO_LABEL).all())
    whole = replace(
        manifest,
        shards=entries,
        rows=len(labels),
        pictures=len(labels) // (len(run.captions) * (1 + run.flip)),
        num_classes=int(labels.max()) + 1 if labelled else None,
        complete=True,
    )
    stored.write_manifest(out, whole)
    for number in range(shards):
        (out / shard_name(number, "json")).unlink(missing_ok=True)
    return whole
