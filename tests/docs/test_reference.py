"""The reference is whole: every public name is on a page, with a docstring, and with an example or a shape."""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import textok

PAGES = sorted((Path(__file__).parents[2] / "docs/reference").glob("*.md"))
SHAPE = re.compile(r"jaxtyping|\((?:n|b|r|h|k|t_i), |>>>")
PACKAGES = (
    "textok.codec",
    "textok.data",
    "textok.data.latents",
    "textok.evaluation.networks",
    "textok.models.bottleneck",
    "textok.models.decoder",
    "textok.recipes",
)


def directives() -> dict[str, str]:
    """What a page has from the docstrings -> the Python blocks of that page."""
    named = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        examples = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
        named |= dict.fromkeys(re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE), examples)
    return named


def resolve(path: str) -> object:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)


def public() -> Iterator[tuple[str, object, str]]:
    """Name, object and examples of everything in the reference; of a package all that it exports."""
    for path, examples in directives().items():
        found = resolve(path)
        names = getattr(found, "__all__", None) if inspect.ismodule(found) else None
        for name in names or [path.rpartition(".")[2]]:
            yield name, getattr(found, name) if names else found, examples


def methods(kind: type) -> Iterator[tuple[str, object]]:
    for name, value in vars(kind).items():
        value = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
        if inspect.isfunction(value) and not name.startswith("_"):
            yield f"{kind.__name__}.{name}", value


def test_every_public_name_has_a_page() -> None:
    shown = {name for name, _, _ in public()}
    assert set(textok.__all__) <= shown
    assert set(PACKAGES) <= directives().keys()


@pytest.mark.parametrize(
    ("name", "found", "examples"),
    list(public()),
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "-",
)
def test_a_public_name_has_a_docstring_and_an_example_or_a_shape(
    name: str, found: object, examples: str
) -> None:
    callables = [(name, found)] if callable(found) else []
    callables += methods(found) if inspect.isclass(found) else []
    assert all(inspect.getdoc(value) for _, value in callables)
    written = " ".join(f"{inspect.getdoc(value)} {_annotations(value)}" for _, value in callables)
    assert SHAPE.search(written) or re.search(rf"\b{name}\b", examples), (
        f"{name}: neither an example nor a shape"
    )


def _annotations(value: object) -> str:
    return str(getattr(value, "__annotations__", ""))
