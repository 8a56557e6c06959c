"""``textok prior``: the probability model that compressed tokens of a tokenizer are coded with."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from textok.codec import CodePrior, LatentPrior
    from textok.models.tokenizer import TexTok


def prior(
    cache: Annotated[Positional[Path], arg(metavar="CACHE")],
    *,
    model: str = "icons-128",
    out: Annotated[Path | None, arg(help_behavior_hint="(default: the model's folder)")] = None,
) -> None:
    """Measure how likely each token is, for textok compress: fewer bytes a picture.

    Args:
        cache: a latent cache of training pictures, which textok cache wrote with this very model.
        model: a shipped name or a folder.
        out: the folder for codec.safetensors.
    """
    from textok.codec import save_prior
    from textok.models.checkpoint import PRIOR_FILE, SHIPPED, resolve
    from textok.models.tokenizer import TexTok

    tokenizer = TexTok.from_pretrained(model)
    made = _measured(cache, tokenizer)
    path = (out or resolve(model, shipped=SHIPPED)) / PRIOR_FILE
    save_prior(made, path, model_id=tokenizer.model_id)
    print(f"{path}: probability model {made.id} of {tokenizer.model_id}")


def _measured(cache: Path, tokenizer: "TexTok") -> "LatentPrior | CodePrior":
    import torch

    from textok.codec.fitting import fit_codes, fit_latents
    from textok.codec.tokenizers import levels_of
    from textok.data.latent_shards import check_shard, read_manifest, read_shard

    manifest = read_manifest(cache)
    if manifest.tokenizer != tokenizer.model_id or not manifest.complete:
        raise ValueError(
            f"{cache}: of model {manifest.tokenizer!r}, complete: {manifest.complete}; expected a complete cache of"
            f" {tokenizer.model_id!r}"
        )
    shards = [read_shard(check_shard(cache, entry))[0] for entry in manifest.shards]
    if tokenizer.num_codes is not None:
        levels = levels_of(tokenizer.config, tokenizer.num_codes)
        return fit_codes((s["codes"] for s in shards), levels=levels, tokens=tokenizer.config.num_latents)
    means = torch.cat([shard["mean"].float() for shard in shards])
    if "log_variance" not in shards[0]:
        return fit_latents(means)
    return fit_latents(means, torch.cat([shard["log_variance"].float() for shard in shards]))
