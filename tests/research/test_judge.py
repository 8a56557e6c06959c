"""The judge: what it would read from perfect answers, what it learns, and its command."""

from pathlib import Path

import pytest
import torch

from research.judge.__main__ import read_scenes
from research.judge.network import Answers, Judge
from research.judge.reading import KINDS, accuracy, confirm
from research.judge.train import judge_loss
from research.judge.vocabulary import COLOURS, GROUNDS, Targets, concepts_of
from textok.data.scenes.source import SceneOptions, SceneSource, scene_picture


@pytest.fixture(scope="module")
def source() -> SceneSource:
    """Scenes of the few val drawings."""
    return SceneSource("val", SceneOptions(density="dense"))


class _Perfect:
    """Answers with what is true of the scenes that it was given."""

    def __init__(self, scenes, concepts) -> None:
        self.concepts, self.count, self.targets = concepts, len(concepts), Targets.of(scenes, concepts)

    def __call__(self, images: torch.Tensor) -> Answers:
        targets = self.targets
        concept = 20 * torch.nn.functional.one_hot(targets.concept, self.count + 1).float()
        grounds = torch.nn.functional.one_hot(targets.grounds, len(GROUNDS)).float()
        return Answers(concept, targets.colours, targets.shape, grounds)


def test_perfect_answers_confirm_the_facts(source: SceneSource) -> None:
    scenes = [source.facts(number) for number in range(60)]
    judge = _Perfect(scenes, concepts_of(source.drawings))
    shares = accuracy(confirm(judge, torch.zeros(60, 3, 64, 64, dtype=torch.uint8), scenes))
    assert set(shares) == {*KINDS, "facts"}
    assert min(shares["thing"], shares["background"]) == 1
    assert min(shares["colour"], shares["place"]) > 0.95
    assert shares["count"] > 0.85  # copies that cover each other share cells


@pytest.mark.slow
def test_facts_of_other_scenes_are_not_confirmed(source: SceneSource) -> None:
    scenes = [source.facts(number) for number in range(60)]
    judge = _Perfect(scenes, concepts_of(source.drawings))
    shares = accuracy(confirm(judge, torch.zeros(60, 3, 64, 64, dtype=torch.uint8), scenes[1:] + scenes[:1]))
    assert max(shares[kind] for kind in ("thing", "colour", "place", "background")) < 0.5


def test_things_that_no_list_names_are_not_asked_for(source: SceneSource) -> None:
    scenes = [source.facts(0)]
    judge = _Perfect(scenes, concepts_of(source.drawings))
    judge.concepts, known = (), judge.concepts
    facts = confirm(judge, torch.zeros(1, 3, 64, 64, dtype=torch.uint8), scenes)
    assert known
    assert [fact.kind for fact in facts] == ["background"]


def test_a_step_lowers_the_loss_and_the_file_comes_back(source: SceneSource, tmp_path: Path) -> None:
    torch.manual_seed(0)
    concepts = concepts_of(source.drawings)
    judge = Judge(concepts)
    scenes = [source.facts(number) for number in range(4)]
    images = torch.stack([scene_picture(facts, source.drawings).draw((64, 64)) for facts in scenes])
    targets = Targets.of(scenes, concepts)
    optimizer = torch.optim.AdamW([p for p in judge.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(4):
        torch.manual_seed(0)
        loss = judge_loss(judge, images, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    judge.save(tmp_path / "judge.safetensors")
    again = Judge.load(tmp_path / "judge.safetensors")
    assert again.concepts == concepts
    with torch.inference_mode():
        assert torch.allclose(again(images).concept, judge.eval()(images).concept, atol=0.1)


def test_reading_tells_chance_beside_what_is_right(source: SceneSource) -> None:
    torch.manual_seed(0)
    row = read_scenes(Judge(concepts_of(source.drawings)).eval(), "val", 64, 8)
    assert {"thing", "thing by chance", "facts", "facts by chance"} <= set(row)
    assert all(0 <= value <= 1 for value in row.values())


def test_no_judge_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no judge"):
        Judge.load(tmp_path / "judge.safetensors")


def test_the_colours_of_a_thing_are_among_the_names(source: SceneSource) -> None:
    named = [thing.colour for number in range(60) for thing in source.facts(number).things if thing.colour]
    assert named
    assert all(part in COLOURS for colour in named for part in colour.split(" and "))
