"""Commands that are killed, meet a full disk or each other: nothing is lost, and the same command finishes.

The short form of ``python -m benchmarks.reliability``.
"""

import random
from pathlib import Path

import pytest

from benchmarks.reliability import faults
from benchmarks.reliability.commands import Workplace, commands

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
QUICK = ("encode .safetensors", "encode .ttk", "decode", "generate", "cache", "caption")


@pytest.fixture(scope="module", params=QUICK)
def place(request: pytest.FixtureRequest, root: Path) -> Workplace:
    """The command's folder, with what it leaves undisturbed."""
    return Workplace(root, next(command for command in commands() if command.name == request.param))


def test_a_kill_costs_nothing(place: Workplace) -> None:
    assert faults.kill(place, random.Random(0), 0) == []


def test_a_full_disk_is_named(place: Workplace) -> None:
    if not faults.can_mount():
        pytest.skip("no disk can be mounted here")
    assert faults.fill_disk(place, random.Random(1)) == []


def test_a_limit_of_files_is_named(place: Workplace) -> None:
    assert faults.limit_files(place, 1000) == []


def test_a_picture_that_vanishes_or_is_cut_is_named(place: Workplace) -> None:
    for spoil in (faults.remove, faults.cut):
        assert faults.lose_source(place, random.Random(3), spoil) == []


def test_two_at_once_do_not_meet(place: Workplace) -> None:
    assert faults.start_twice(place, random.Random(2)) == []


def test_the_harness_sees_what_is_wrong(root: Path) -> None:
    """A command whose output differs each time, and one that dies, are seen."""
    place = Workplace(root, commands()[0])
    (place.folder / "neighbour.txt").write_text("damaged")
    assert place.damage() == ["neighbour.txt"] and place.differences() == ["neighbour.txt (other content)"]
    (place.folder / ".x.tmp").touch()
    assert place.debris() == [".x.tmp"]
