"""``textok info``: what a recipe, a model or a token file is, in one command."""

import json as json_format
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from textok.cli.recipes import nearest, summary


def info(name: Annotated[Positional[str], arg(metavar="NAME")], *, json: bool = False) -> None:
    """Tell what a recipe, a model or a token file is: parameters, sizes, settings, what made it.

    Args:
        name: a recipe, a shipped model, a model folder, or a token file (.safetensors).
        json: print it as JSON.
    """
    sections = describe(name)
    print(json_format.dumps(sections) if json else "\n".join(_lines(sections)))


def describe(name: str) -> dict[str, Any]:
    """Everything of that name: a section each for ``recipe``, ``model`` and ``tokens``.

    Raises:
        ValueError: when there is nothing of that name; suggests the nearest.
    """
    path = Path(name)
    if path.is_file():
        return {"tokens": _tokens(path)}
    from textok.models.checkpoint import CONFIG_FILE, SHIPPED
    from textok.recipes import RECIPES

    sections = {"recipe": _recipe(name)} if name in RECIPES else {}
    if (path / CONFIG_FILE).is_file() or name in SHIPPED:
        try:
            sections["model"] = _model(name)
        except FileNotFoundError:  # a recipe whose weights do not travel with this installation
            if not sections:
                raise
    if not sections:
        hint = nearest(name, [*RECIPES, *SHIPPED])
        raise ValueError(
            f"{name!r} is no recipe, shipped model, model folder or token file;{hint} see textok recipes"
        )
    return sections


def _recipe(name: str) -> dict[str, Any]:
    from textok.models.checkpoint import encode_config
    from textok.pipeline.facts import model_facts
    from textok.recipes import RECIPES

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
    settings = {"settings": encode_config(model.config), "made_by": model.made_by}
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


def _lines(values: dict[str, Any], depth: int = 0) -> list[str]:
    """One value a line, groups indented."""
    width = max((len(key) for key, value in values.items() if not _is_group(value)), default=0)
    lines = []
    for key, value in values.items():
        indent, label = "  " * depth, key.replace("_", " ")
        if _is_group(value):
            lines += [f"{indent}{label}", *_lines(value, depth + 1)]
        else:
            lines.append(f"{indent}{label:<{width}}  {_shown(value)}")
    return lines


def _is_group(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
