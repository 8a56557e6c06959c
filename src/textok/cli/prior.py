"""``textok prior``: the probability model that .ttk files of a tokenizer are coded with."""

from pathlib import Path
from typing import Annotated

import torch
from tyro.conf import Positional, arg

from textok.cli.output import report
from textok.codec import CodePrior, LatentPrior, save_prior
from textok.codec.header import levels_of
from textok.codec.prior import fit_codes, fit_latents
from textok.data.latent_shards import check_shard, read_manifest, read_shard
from textok.models.checkpoint import PRIOR_FILE, SHIPPED, resolve, weights_hash
from textok.models.tokenizer import TexTok


def prior(
    cache: Annotated[Positional[Path], arg(metavar="CACHE")],
    *,
    model: str = "icons-128",
    out: Annotated[Path | None, arg(help_behavior_hint="(default: the model's folder)")] = None,
    json: bool = False,
) -> None:
    """Measure how likely each token is, for .ttk files: fewer bytes for each picture.

    Args:
        cache: a latent cache of training pictures, which textok cache wrote with this very model.
        model: a shipped name or a folder.
        out: the folder for codec.safetensors.
        json: print the result as JSON.
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
    shards = [read_shard(check_shard(cache, entry))[0] for entry in manifest.shards]
    if tokenizer.num_codes is not None:
        levels = levels_of(tokenizer.config, tokenizer.num_codes)
        return fit_codes((s["codes"] for s in shards), levels=levels, tokens=tokenizer.config.num_latents)
    means = torch.cat([shard["mean"].float() for shard in shards])
    if "log_variance" not in shards[0]:
        return fit_latents(means)
    return fit_latents(means, torch.cat([shard["log_variance"].float() for shard in shards]))
