"""A generator run fitted to the cache that it trains on."""

from dataclasses import replace
from typing import Any

from textok.data.latents import Manifest
from textok.models.conditions import ConditionConfig
from textok.models.dit import DiTConfig
from textok.training.generator.config import GeneratorRun


def fitted(run: GeneratorRun, manifest: Manifest) -> GeneratorRun:
    """The run with everything in its model that the tokenizer of the cache fixes.

    Raises:
        ValueError: when the model cannot be trained on such tokens.
    """
    discrete = manifest.num_codes is not None
    if isinstance(run.model, DiTConfig) == discrete:
        tokens, model = ("codes", "a MaskGIT") if discrete else ("continuous latents", "a DiT")
        raise ValueError(f"{run.latents}: got {tokens} of a {manifest.kind} tokenizer; train {model} on them")
    if run.sharded and run.optimizer.kind != "adamw":
        raise ValueError(f"optimizer.kind: got {run.optimizer.kind!r} with sharded weights, expected adamw")
    values: dict[str, Any] = {
        "num_latents": manifest.num_latents,
        "tokenizer": manifest.tokenizer,
        "tokenizer_source": manifest.tokenizer_source,
        "condition": fitted_condition(run.model.condition, manifest, data=run.latents),
    }
    values |= {"num_codes": manifest.num_codes} if discrete else {"latent_dim": manifest.latent_dim}
    return replace(run, model=replace(run.model, **values))


def fitted_condition(config: ConditionConfig, manifest: Manifest, *, data: str) -> ConditionConfig:
    """The condition, as the cached rows have it."""
    if config.kind == "text":
        if not manifest.settings.get("text", True):
            raise ValueError(f"{data}: was cached without text; cache it with, or train on classes")
        return replace(
            config,
            text_encoder=manifest.text_encoder,
            text_dim=manifest.text_dim,
            max_text_tokens=manifest.max_text_tokens,
        )
    if manifest.num_classes is None:
        raise ValueError(f"{data}: its rows have no classes; cache a source with labels, or train on text")
    if config.num_classes and config.num_classes < manifest.num_classes:
        raise ValueError(
            f"condition.num_classes: got {config.num_classes}, but {data} has {manifest.num_classes} classes"
        )
    return replace(config, num_classes=config.num_classes or manifest.num_classes)
