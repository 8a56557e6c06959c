"""Scenes: what the facts say is what the pixels show."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textok.data.scenes.colours import BACKGROUNDS, NAMES, TURNS
from textok.data.scenes.composition import compose
from textok.data.scenes.drawings import draw_background, draw_scene, draw_thing
from textok.data.scenes.facts import GRID, Facts, relation
from textok.data.scenes.stream import Stream

SIZE = 64


def seen_mask(facts: Facts, number: int, drawings, size: int = SIZE) -> np.ndarray:
    """Where one thing alone changes the background."""
    alone = replace(facts, things=(facts.things[number],))
    return (draw_scene(alone, drawings, size) != np.asarray(draw_background(facts.background, size))).any(-1)


def test_each_place_is_where_its_drawing_lies(scenes, drawings):
    for facts in scenes[:300]:
        for number, thing in enumerate(facts.things):
            if thing.count > 1:
                continue
            rows, columns = np.nonzero(seen_mask(facts, number, drawings))
            middle = (columns.min() + columns.max() + 1) / 2 / SIZE, (rows.min() + rows.max() + 1) / 2 / SIZE
            for got, said, low, high in zip(
                middle, thing.center, ("left", "top"), ("right", "bottom"), strict=True
            ):
                assert abs(got - said / GRID) < 0.06 or "white" in thing.colour
                assert (low in thing.place) == (said < 205) and (high in thing.place) == (said > 307)


def test_each_color_is_that_of_most_pixels(scenes, drawings, colour_names):
    agreed = total = 0
    for facts in scenes[:600]:
        for thing in facts.things:
            if thing.colour in NAMES:
                picture, mask = draw_thing(thing, drawings, 128)
                opaque = np.asarray(mask.getchannel(3)) >= 250
                ranked = colour_names.shares(np.asarray(picture)[opaque][:, :3])
                total += 1
                agreed += bool(ranked) and ranked[0][0] == thing.colour
    assert agreed / total > 0.95, f"{agreed} of {total}"


def test_as_many_drawings_are_seen_as_counted(scenes, drawings):
    for facts in scenes[:300]:
        for number, thing in enumerate(facts.things):
            one = replace(facts.things[number], centers=thing.centers[:1])
            single = seen_mask(replace(facts, things=(one,)), 0, drawings).sum()
            whole = seen_mask(facts, number, drawings).sum()
            assert abs(whole / max(1, single) - thing.count) < 0.35 * thing.count


def test_backgrounds_have_their_names(colour_names):
    for name, rgb in BACKGROUNDS.items():
        measured = NAMES[colour_names.name_pixels(np.array([rgb], np.uint8))[0]]
        assert measured == {"sky blue": "blue", "navy blue": "blue"}.get(name, name)


def test_sizes_differ_clearly(scenes):
    sides = {
        size: [t.side for f in scenes for t in f.things if t.size == size]
        for size in ("small", "medium", "large")
    }
    assert max(sides["small"]) < min(sides["medium"]) < max(sides["medium"]) < min(sides["large"])


def test_scenes_are_as_various_as_promised(scenes):
    assert {len(facts.things) for facts in scenes} == {1, 2, 3, 4}
    assert {thing.count for facts in scenes for thing in facts.things} == {1, 2, 3, 4, 5}
    assert {facts.background.kind for facts in scenes} == {"plain", "two-part", "gradient"}
    assert {thing.turn for facts in scenes for thing in facts.things} == {"", *TURNS}
    assert any(thing.mirrored for facts in scenes for thing in facts.things)
    relations = {relation(f.things[1], f.things[0]) for f in scenes if len(f.things) > 1}
    assert relations == {"", "left of", "right of", "above", "below", "in front of"}


def test_words_of_skin_and_flags_keep_their_colors(scenes):
    assert not any(
        t.turn for f in scenes for t in f.things if "skin" in t.phrase or t.phrase.startswith("the flag")
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**62), size=st.integers(64, 512), most=st.integers(1, 4))
def test_any_scene_of_any_size_is_drawn_the_same_twice(drawings, seed, size, most):
    facts = compose(Stream(seed), drawings, most_things=most)
    assert len(facts.things) <= most
    assert Facts.from_json(facts.to_json()) == facts
    picture = draw_scene(facts, drawings, size)
    assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
    assert np.array_equal(picture, draw_scene(facts, drawings, size))


@pytest.mark.parametrize("size", [63, 513])
def test_a_size_out_of_range_is_refused(scenes, drawings, size):
    with pytest.raises(ValueError, match="size"):
        draw_scene(scenes[0], drawings, size)


def test_facts_that_are_none_are_refused():
    with pytest.raises(ValueError, match="facts"):
        Facts.from_json('{"things": 3}')
    with pytest.raises(ValueError, match=r"Expecting|facts"):
        Facts.from_json("no json")
