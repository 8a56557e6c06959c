"""The inputs of the commands that write, made once."""

from pathlib import Path

import pytest

from benchmarks.reliability.commands import make_inputs


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reliability")
    make_inputs(folder)
    return folder
