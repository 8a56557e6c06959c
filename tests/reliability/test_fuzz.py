"""A few hundred mutated inputs of every kind, as ``python -m benchmarks.reliability`` tries thousands."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.reliability import fuzz


@pytest.mark.slow
def test_mutations_are_read_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for kind in fuzz.kinds(tmp_path):
        row = fuzz.fuzz(kind, mutations=300, seed=3)
        assert row["failed"] == 0, row
        assert row.get("read") and row.get("refused"), f"both must come: {row}"


def burn(_: bytes) -> None:
    end = time.process_time() + 1.05
    while time.process_time() < end:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("read", [lambda _: [][1], burn])
def test_what_is_undocumented_counts(read: Callable[[bytes], object]) -> None:
    def bad(data: bytes) -> object:
        return read(data) if data != b"good" else None

    kind = fuzz.Kind(name="bad", originals=[b"good"], change=lambda data, _: data + b"x", read=bad)
    assert fuzz.fuzz(kind, mutations=2, seed=0)["failed"] >= 1
