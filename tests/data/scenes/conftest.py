"""The drawings of a test split, opened once, and scenes of them."""

from pathlib import Path

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
