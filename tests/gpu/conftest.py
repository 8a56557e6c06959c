"""The device that the tests of this folder run on: CUDA, or what GPU_TESTS_DEVICE names, to rehearse them on a CPU."""

import os
from collections.abc import Iterator

import pytest
import torch
from accelerate.state import AcceleratorState

DEVICE = os.environ.get("GPU_TESTS_DEVICE", "cuda")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a GPU the tests are skipped."""
    if DEVICE == "cuda" and not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.path.parts:
                item.add_marker(pytest.mark.skip(reason="no CUDA device is here"))


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device(DEVICE)


@pytest.fixture(autouse=True)
def plain_arithmetic() -> Iterator[None]:
    """No TF32, which rounds to ten bits, and no precision left over from another test."""
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.cuda.set_sync_debug_mode("default") if DEVICE == "cuda" else None
