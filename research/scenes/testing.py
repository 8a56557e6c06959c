"""The test sets of the study: scenes with their facts, captions and wrong captions; photographs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from research.scene_changes import ChangedCaption, one_fact_changed
from research.scenes.foreign import ForeignSource
from textok.data import DataConfig, EvalLoader
from textok.data.scenes.facts import Facts
from textok.data.scenes.source import SceneOptions, SceneSource, scene_picture
from textok.data.scenes.stream import Stream
from textok.evaluation.captioned import CaptionedPictures


@dataclass(frozen=True, kw_only=True)
class SceneTest:
    """A test set.

    Attributes:
        pictures: with dense captions as the right ones, and the variant "name" where there are facts.
        scenes: what each picture shows; none for photographs.
        changes: a caption of each scene with one fact changed; None where none can be.
    """

    pictures: CaptionedPictures
    scenes: Sequence[Facts] = ()
    changes: Sequence[ChangedCaption | None] = ()


def scene_test(split: str, *, side: int, limit: int) -> SceneTest:
    """The first ``limit`` scenes of a split."""
    source = SceneSource(split, SceneOptions(density="dense"))
    scenes = [source.facts(number) for number in range(min(limit, len(source)))]
    images = torch.stack([scene_picture(facts, source.drawings).draw((side, side)) for facts in scenes])
    names = tuple(source.caption(number, facts, "name") for number, facts in enumerate(scenes))
    pictures = CaptionedPictures(
        split=split,
        images=images,
        captions=tuple(source.caption(number, facts) for number, facts in enumerate(scenes)),
        keys=tuple(f"{split}-{number}" for number in range(len(scenes))),
        variants={"name": names},
    )
    changes = [
        one_fact_changed(facts, Stream("one fact", split, number), source.drawings)
        for number, facts in enumerate(scenes)
    ]
    return SceneTest(pictures=pictures, scenes=scenes, changes=changes)


def foreign_test(*, side: int, limit: int) -> SceneTest:
    """Scenes with captions that people wrote; the variant "dense" is the caption of our own grammar."""
    source = ForeignSource()
    scenes = [facts for _, _, facts in source.lines[:limit]]
    grammar = SceneSource("test-drawing", SceneOptions(density="dense"))
    dense = tuple(grammar.caption(number, facts, "dense") for number, facts in enumerate(scenes))
    config = DataConfig(source="scenes-foreign", size=(side, side))
    loader = EvalLoader(config, batch_size=min(64, limit), source=source)
    pictures = CaptionedPictures.collect("foreign", loader, limit=limit)
    return SceneTest(pictures=replace(pictures, variants={"dense": dense}), scenes=scenes)


def photo_test(source: str, *, side: int, limit: int) -> SceneTest:
    """The first ``limit`` photographs, with their human captions."""
    return SceneTest(pictures=CaptionedPictures.open(source, name="photos", side=side, limit=limit))
