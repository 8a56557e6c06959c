"""The fuzz script, which knows how to make small files of every kind."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ttk_fuzz.py"


@pytest.fixture(scope="session")
def fuzzing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ttk_fuzz", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ttk_fuzz"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
