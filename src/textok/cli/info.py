"""``textok info``: what a recipe, a model, a latent cache, a token file or a .ttk file is, in one command."""

import json as json_format
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from textok.cli.recipes import nearest, summary

_GROUP_WIDTH = 80
TOKEN_ENDING = ".safetensors"


def info(name: Annotated[Positional[str], arg(metavar="NAME")], *, json: bool = False) -> None:
    """Tell what a recipe, a model, a latent cache or a file of tokens is: parameters, sizes, settings, what made it.

    Args:
        name: a recipe, a shipped model, a model folder, a latent cache, a token file (.safetensors) or a .ttk file.
        json: print it as JSON.
    """
    sections = describe(name)
    print(json_format.dumps(sections) if json else readable(sections))


def describe(name: str) -> dict[str, Any]:
    """Everything of that name: a section each for ``model``, ``generator``, ``recipe``, ``latents``, ``tokens``
    and ``ttk``.

    Raises:
        ValueError: when there is nothing of that name; suggests the nearest.
    """
    path = Path(name)
    if path.is_file():
        from textok.codec.facts import is_ttk, ttk_facts

        if is_ttk(path):
            return {"ttk": ttk_facts(path)}
        try:
            return {"tokens": _tokens(path)}
        except ValueError as error:
            if path.suffix == TOKEN_ENDING:
                raise
            raise ValueError(f"{path}: neither a .ttk file nor a token file ({TOKEN_ENDING})") from error
    if path.suffix in (TOKEN_ENDING, ".ttk"):
        raise FileNotFoundError(f"{path}: no such file")
    from textok.data.latent_shards import MANIFEST
    from textok.models.checkpoint import CONFIG_FILE, SHIPPED, SHIPPED_GENERATORS
    from textok.recipes import GENERATOR_RECIPES, RECIPES

    if (path / MANIFEST).is_file():
        return {"latents": _latents(path)}
    sections, recipes = {}, {**RECIPES, **GENERATOR_RECIPES}
    if (path / CONFIG_FILE).is_file() and _is_generator(path):
        return {"generator": _generator(path)}
    if (path / CONFIG_FILE).is_file() or name in SHIPPED:
        try:
            sections["model"] = _model(name)
        except FileNotFoundError:  # a recipe whose weights do not travel with this installation
            if name not in recipes:
                raise
    if name in SHIPPED_GENERATORS:
        with suppress(FileNotFoundError):  # likewise
            sections["generator"] = _generator(name)
    if name in recipes:
        sections["recipe"] = _recipe(name)
    if not sections:
        hint = nearest(name, [*recipes, *SHIPPED])
        raise ValueError(
            f"{name!r} is no recipe, shipped model, model folder, latent cache, token file or .ttk file;"
            f"{hint} see textok recipes"
        )
    return sections


def _is_generator(folder: Path) -> bool:
    from textok.models.generators import kind_of

    return kind_of(folder) is not None


def _generator(name: str | Path) -> dict[str, Any]:
    from textok.models.checkpoint import encode_config
    from textok.models.generators import load_generator
    from textok.models.tokenizer import count_parameters

    model = load_generator(name)
    settings = {"made_by": model.made_by, "settings": encode_config(model.config)}
    return {"model_id": model.model_id, "parameters": count_parameters(model)} | settings


def _latents(folder: Path) -> dict[str, Any]:
    from dataclasses import asdict

    from textok.data.latent_shards import read_manifest

    manifest = read_manifest(folder)
    shards = asdict(manifest).pop("shards")
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return asdict(manifest) | {"shards": len(shards), "bytes": size, "fingerprint": manifest.fingerprint}


def _generator_recipe(name: str) -> dict[str, Any]:
    import torch

    from textok.models.checkpoint import encode_config
    from textok.models.generators import build_generator
    from textok.models.tokenizer import count_parameters
    from textok.recipes import GENERATOR_RECIPES

    run = GENERATOR_RECIPES[name]()
    with torch.device("meta"):
        parameters = count_parameters(build_generator(run.model))
    about = summary(GENERATOR_RECIPES[name])
    return {"name": name, "about": about, "parameters": parameters, "settings": encode_config(run)}


def _recipe(name: str) -> dict[str, Any]:
    from textok.models.checkpoint import encode_config
    from textok.pipeline.facts import model_facts
    from textok.recipes import RECIPES

    if name not in RECIPES:
        return _generator_recipe(name)
    run = RECIPES[name]()
    return (
        {"name": name, "about": summary(RECIPES[name])}
        | model_facts(run.model)
        | {"settings": encode_config(run)}
    )


def _model(name: str) -> dict[str, Any]:
    from textok.models.checkpoint import encode_config
    from textok.models.tokenizer import TexTok
    from textok.pipeline.facts import model_facts

    model = TexTok.from_pretrained(name)
    settings = {"made_by": model.made_by, "settings": encode_config(model.config)}
    return {"model_id": model.model_id} | model_facts(model.config) | settings


def _tokens(path: Path) -> dict[str, Any]:
    from textok.pipeline.token_file import load_tokens

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


def readable(sections: dict[str, Any]) -> str:
    """The sections one after another; of a recipe only what its model did not say."""
    known = sections.get("model", {})
    shown = {
        title: {key: value for key, value in values.items() if values is known or known.get(key) != value}
        for title, values in sections.items()
    }
    return "\n\n".join("\n".join(map(_printable, _lines({title: values}))) for title, values in shown.items())


def _printable(line: str) -> str:
    """The line with control characters, lone surrogates and the like spelled out: a terminal might obey them."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)


def _lines(values: dict[str, Any], depth: int = 0) -> list[str]:
    """One value a line; a group in one line where it fits, else indented below its name."""
    shown = {key: _shown(value) for key, value in values.items()}
    width = max((len(key) for key, text in shown.items() if text is not None), default=0)
    lines = []
    for key, text in shown.items():
        indent, label = "  " * depth, key.replace("_", " ")
        if text is None:
            lines += [f"{indent}{label}", *_lines(_group(values[key]), depth + 1)]
        else:
            lines.append(f"{indent}{label:<{width}}  {text}")
    return lines


def _shown(value: Any) -> str | None:
    """The value in one line; None for a group that has groups in it or is too long."""
    if _holds_groups(value):
        return None
    if isinstance(value, dict):
        parts = [(key.replace("_", " "), _shown(item)) for key, item in value.items()]
        line = ", ".join(f"{key} {text}" for key, text in parts)
        return None if len(line) > _GROUP_WIDTH else line
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _group(value: dict[str, Any] | list[Any]) -> dict[str, Any]:
    """A list as a group whose names are numbers, from 1."""
    return value if isinstance(value, dict) else {str(i): item for i, item in enumerate(value, start=1)}


def _holds_groups(value: Any) -> bool:
    return isinstance(value, dict | list) and any(isinstance(v, dict) for v in _group(value).values())
