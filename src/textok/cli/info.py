"""``textok info`` and ``textok recipes``: what a recipe, a model, a latent cache or a file of tokens is."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors import SafetensorError, safe_open
from tyro.conf import Positional, arg

from textok.cli.options import Json
from textok.cli.output import report
from textok.codec import TtkReader, is_ttk
from textok.data.latents import MANIFEST, read_manifest
from textok.models import checkpoint
from textok.models.config_json import encode_config
from textok.models.generators import build_generator, kind_of
from textok.models.tokenizer import count_parameters
from textok.pipeline.facts import model_facts
from textok.pipeline.tokens import load_tokens
from textok.recipes import GENERATOR_RECIPES, RECIPES, nearest, summary
from textok.training.tokenizer.config import TokenizerRun
from textok.writing import refuse_foreign

TOKEN_SUFFIX = ".safetensors"


def recipes(*, json: Json = False) -> None:
    """List the recipes: named configurations to train by."""
    kinds = {"tokenizer": RECIPES, "generator": GENERATOR_RECIPES}
    about = {kind: {name: summary(recipe) for name, recipe in named.items()} for kind, named in kinds.items()}
    lines = list[str]()
    for kind, named in about.items():
        width = max(map(len, named))
        lines += ["", f"textok train {kind} RECIPE", *(f"  {x:<{width}}  {named[x]}" for x in named)]
    report(about, *lines[1:], json=json)


def info(name: Annotated[Positional[str], arg(metavar="NAME")], *, json: Json = False) -> None:
    """Describe a recipe, a model, a latent cache or a file of tokens: parameters, sizes, settings, what made it.

    Of a model only the configuration and the header of the weights are read.

    Args:
        name: a recipe, a shipped model, a model folder, a latent cache, a token file (.safetensors) or a .ttk file.
    """
    sections = _described(name)
    report(sections, *_lines(sections), json=json)


def _described(name: str) -> dict[str, Any]:
    path = Path(name)
    if path.is_file():
        return _file(path)
    if path.suffix in (TOKEN_SUFFIX, ".ttk"):
        raise FileNotFoundError(f"{path}: no such file")
    if (path / MANIFEST).is_file():
        return {"latents": _latents(path)}
    folder = checkpoint.model_folder(path)
    if (folder / checkpoint.CONFIG_FILE).is_file():
        return {"generator" if kind_of(folder) else "model": _weights(folder)}
    return _named(name)


def _named(name: str) -> dict[str, Any]:
    sections: dict[str, Any] = {}
    for title, shipped in (("model", checkpoint.SHIPPED), ("generator", checkpoint.SHIPPED_GENERATORS)):
        if name in shipped:
            with suppress(FileNotFoundError):  # weights that do not travel with this installation
                sections[title] = _weights(checkpoint.shipped_folder(shipped[name]))
    if name in RECIPES | GENERATOR_RECIPES:
        sections["recipe"] = _recipe(name)
    if not sections:
        hint = nearest(name, [*RECIPES, *GENERATOR_RECIPES, *checkpoint.SHIPPED])
        raise ValueError(
            f"name: got {name!r}, expected a recipe, a shipped model, a model folder, a latent cache, a token file or "
            f"a .ttk file;{hint} see textok recipes"
        )
    return sections


def _file(path: Path) -> dict[str, Any]:
    if is_ttk(path):
        with TtkReader(path) as reader:
            return {"ttk": {"file": str(path), **reader.facts()}}
    try:
        return {"tokens": _tokens(path)}
    except ValueError as error:
        if path.suffix == TOKEN_SUFFIX:
            raise
        raise ValueError(f"{path}: neither a .ttk file nor a token file ({TOKEN_SUFFIX})") from error


def _weights(folder: Path) -> dict[str, Any]:
    config, path = checkpoint.read_config(folder / checkpoint.CONFIG_FILE), folder / checkpoint.WEIGHTS_FILE
    refuse_foreign(path, expected="weights in safetensors form")
    values, dtypes = Counter(total=0), set[str]()
    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 (no dictionary)
                tensor = file.get_slice(key)
                size = math.prod(tensor.get_shape())
                values.update({"total": size, key.partition(".")[0]: size})
                dtypes.add(tensor.get_dtype())
    except SafetensorError as error:
        raise ValueError(f"{path}: cut off or no safetensors file ({error}); fetch it again") from error
    return {
        "model_id": config.get("model_id"),
        "values": dict(values),
        "dtypes": sorted(dtypes),
        "made_by": config.get("made_by", {}),
        "settings": config["model"],
    }


def _latents(folder: Path) -> dict[str, Any]:
    manifest = read_manifest(folder)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    facts = dataclasses.asdict(manifest) | {"shards": len(manifest.shards)}
    return facts | {"bytes": size, "fingerprint": manifest.fingerprint}


def _recipe(name: str) -> dict[str, Any]:
    recipe = (RECIPES | GENERATOR_RECIPES)[name]
    run, about = recipe(), {"name": name, "about": summary(recipe)}
    if isinstance(run, TokenizerRun):
        return about | model_facts(run.model, arithmetic=False) | {"settings": encode_config(run)}
    with torch.device("meta"):
        parameters = count_parameters(build_generator(run.model))
    return about | {"parameters": parameters, "settings": encode_config(run)}


def _tokens(path: Path) -> dict[str, Any]:
    tokens = load_tokens(path)
    captions = tokens.captions
    return {
        "file": str(path),
        "model_id": tokens.model_id,
        "kind": "codes" if tokens.latents is None else "latents",
        "pictures": len(tokens),
        "captions": "left out" if captions is None else sum(map(bool, captions)),
        "grid": list(tokens.grid),
        "tokens_per_image": tokens.num_tokens,
        "stored_as": str(tokens.values.dtype).removeprefix("torch."),
        "bytes_per_image": tokens.bytes_per_image,
        "caption_bytes_per_image": sum(len(text.encode()) for text in captions or ()) / len(tokens),
        "file_bytes": path.stat().st_size,
        "settings": dict(tokens.settings),
    }


def _lines(values: dict[str, Any], depth: int = 0) -> Iterator[str]:
    for key, value in values.items():
        label = "  " * depth + key
        if isinstance(value, dict) and value:
            yield f"{label}:"
            yield from _lines(value, depth + 1)
        elif isinstance(value, list | tuple):
            yield f"{label}: {', '.join(map(str, value))}"
        else:
            yield f"{label}: {value}"
