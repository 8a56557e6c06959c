"""The drawings of a test split, opened once, and scenes of them."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from textok.data.scenes.composition import compose
from textok.data.scenes.drawings import Drawings
from textok.data.scenes.facts import Facts
from textok.data.scenes.stream import Stream

FOLDER = Path("datasets/drawings-rgba")


@pytest.fixture(scope="session")
def drawings() -> Drawings:
    return Drawings(FOLDER, "test-drawing")


@pytest.fixture(scope="session")
def scenes(drawings: Drawings) -> list[Facts]:
    return [compose(Stream("scene", 0, "test-drawing", index), drawings) for index in range(700)]


@pytest.fixture(scope="session")
def colour_names() -> ModuleType:
    """The rules by which the drawings' colours were measured."""
    spec = importlib.util.spec_from_file_location("colour_names", "datasets/build/colour_names.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
