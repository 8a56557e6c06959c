"""``textok cache``: latents of captioned pictures, for the training of generators; ``textok prior`` counts them."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
from tyro.conf import Positional, arg

from textok.cli.distributed import place, process_group
from textok.cli.options import Bad, Captions, Data, Engine, Json, Limit, Model, ModelOptions, Split, optional
from textok.cli.output import report
from textok.codec import CodePrior, LatentPrior, save_prior
from textok.codec.header import levels_of
from textok.codec.prior import fit_codes, fit_latents
from textok.data.latents import check_shard, read_manifest, read_shard
from textok.data.text import checked_forms
from textok.models.checkpoint import PRIOR_FILE, SHIPPED, resolve, weights_hash
from textok.models.tokenizer import TexTok
from textok.pipeline.cache_latents import cache_latents
from textok.pipeline.cache_rows import CachingRun, Part

_MODEL = ModelOptions(batch_size=64)


def cache(
    bad: Bad,
    engine: Engine,
    model: Model = _MODEL,
    *,
    data: Data,
    out: Path,
    split: Split = None,
    part: Part = "all",
    caption_forms: Annotated[tuple[str, ...], arg(metavar="FORM,FORM")] = ("given",),
    captions: Captions = None,
    flip: bool = False,
    no_text: bool = False,
    accept_changes: bool = False,
    limit: Limit = None,
    shard_pictures: int = 2048,
    text_cache: Annotated[str | None, optional("FOLDER")] = None,
    json: Json = False,
) -> None:
    """Encode captioned pictures once: latents, text features, labels and keys for textok train generator.

    The same command goes on where it was stopped. The ranks of torchrun share the work, or the workers of Ray.

    Args:
        out: the folder for the shards and manifest.json.
        part: the pictures that textok train tokenizer learns from on the same data, or those it holds out.
        caption_forms: forms of each caption, one row for each: given, scene (no style and keywords), short (first
            phrase), thing (noun phrase).
        flip: also every picture mirrored.
        no_text: leave the text features out, which take most of the space: for generators of classes.
        accept_changes: where pictures or captions changed since the cache was begun, make those anew instead of naming
            them and stopping.
        shard_pictures: pictures per file, and the most that a killed run loses.
        text_cache: folder of caption features; default the user's cache.
    """
    side = TexTok.from_pretrained(model.model).config.image_size
    run = CachingRun(
        tokenizer=model.model,
        data=bad.config(data, split=split, captions=captions, size=(side, side)),
        captions=checked_forms(list(caption_forms)),
        flip=flip,
        text=not no_text,
        accept_changes=accept_changes,
        limit=limit,
        part=part,
        batch_size=model.batch_size,
        shard_pictures=shard_pictures,
        text_cache=text_cache,
        precision=model.dtype,
    )
    device, (rank, count) = model.open(), place()
    with process_group(device):
        ray = partial(engine.run, device=model.device) if engine.is_ray else None
        where = model.device if engine.is_ray else device
        manifest = cache_latents(run, out, device=where, rank=rank, world=count, engine=ray)
    if manifest is None:
        raise KeyboardInterrupt
    if rank == 0:
        megabytes = sum(file.stat().st_size for file in out.glob("*.safetensors")) / 1e6
        line = f"{out}: {manifest.rows} rows of {manifest.pictures} pictures, {megabytes:.1f} MB"
        report(dataclasses.asdict(manifest), line, json=json)


def prior(
    cache: Annotated[Positional[Path], arg(metavar="CACHE")],
    *,
    model: str = "icons-128",
    out: Annotated[Path | None, optional(default="the model's folder")] = None,
    json: Json = False,
) -> None:
    """Measure how likely each token is, for .ttk files: fewer bytes for each picture.

    Args:
        cache: a latent cache of training pictures, which textok cache wrote with this very model.
        model: a shipped name or a folder.
        out: the folder for codec.safetensors.
    """
    tokenizer = TexTok.from_pretrained(model)
    fitted = _fit(cache, tokenizer)
    path = (out or resolve(model, shipped=SHIPPED)) / PRIOR_FILE
    save_prior(fitted, path, model_id=tokenizer.model_id)
    facts = {"file": str(path), "probability_model": fitted.id, "model_id": tokenizer.model_id}
    report(facts, f"{path}: probability model {fitted.id} of {tokenizer.model_id}", json=json)


def _fit(cache: Path, tokenizer: TexTok) -> LatentPrior | CodePrior:
    manifest = read_manifest(cache)
    if weights_hash(manifest.tokenizer) != weights_hash(tokenizer.model_id) or not manifest.complete:
        state = "a complete" if manifest.complete else "an incomplete"
        raise ValueError(
            f"cache: got {state} one of {manifest.tokenizer!r} in {cache}, expected a complete one of "
            f"{tokenizer.model_id!r}"
        )
    shards = [read_shard(check_shard(cache, entry)).tensors for entry in manifest.shards]
    if tokenizer.num_codes is not None:
        levels = levels_of(tokenizer)
        return fit_codes((s["codes"] for s in shards), levels=levels, tokens=tokenizer.config.num_latents)
    names = [name for name in ("mean", "log_variance") if name in shards[0]]
    return fit_latents(*(torch.cat([shard[name].float() for shard in shards]) for name in names))
