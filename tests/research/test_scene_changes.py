"""Wrong captions: one fact differs, and nothing else."""

from pathlib import Path

import pytest

from research.scene_changes import KINDS, one_fact_changed
from textok.data.scenes.composition import compose
from textok.data.scenes.drawings import Drawings
from textok.data.scenes.facts import Facts
from textok.data.scenes.stream import Stream


@pytest.fixture(scope="module")
def drawings() -> Drawings:
    return Drawings(Path("datasets/drawings-rgba"), "test-drawing")


@pytest.fixture(scope="module")
def scenes(drawings: Drawings) -> list[Facts]:
    return [compose(Stream("scene", 0, "test-drawing", index), drawings) for index in range(120)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("density", ["short", "dense"])
@pytest.mark.slow
def test_one_fact_differs(scenes, drawings, kind, density):
    changed = [
        change
        for i, facts in enumerate(scenes[:80])
        if (change := one_fact_changed(facts, Stream(i), drawings, density=density, kind=kind))
    ]
    assert len(changed) >= 10
    for change in changed:
        assert change.fact == kind
        assert change.before != change.after
        assert change.right.text != change.wrong.text
        assert change.right.told == change.wrong.told


def test_the_changed_facts_differ_in_that_field_only(scenes, drawings):
    for i, facts in enumerate(scenes[:120]):
        change = one_fact_changed(facts, Stream(i), drawings)
        if change is None or change.number is None:
            continue
        for number, (was, now) in enumerate(zip(facts.things, change.facts.things, strict=True)):
            assert (was == now) == (number != change.number)
            if change.fact != "thing":
                assert was.phrase == now.phrase
            if change.fact != "colour":
                assert was.colour == now.colour
            if change.fact != "place":
                assert was.place == now.place
            if change.fact != "count":
                assert was.count == now.count


def test_the_same_draws_give_the_same_change(scenes, drawings):
    assert one_fact_changed(scenes[5], Stream(1), drawings) == one_fact_changed(
        scenes[5], Stream(1), drawings
    )


def test_an_unknown_kind_is_refused(scenes, drawings):
    with pytest.raises(ValueError, match="kind"):
        one_fact_changed(scenes[0], Stream(1), drawings, kind="smell")
