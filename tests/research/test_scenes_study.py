"""The study on scenes from its command, with models of a few seconds."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from research.judge.network import Judge
from research.judge.vocabulary import concepts_of
from research.scenes import __main__ as command
from research.scenes.arms import TEXTS, scene_arms
from research.scenes.tables import tables
from textok.data.scenes.source import SceneOptions, SceneSource
from textok.evaluation.results import Row
from textok.recipes import RECIPES
from textok.training.tokenizer.config import TokenizerRun


def _tiny(name: str) -> TokenizerRun:
    run = RECIPES[name]()
    model = replace(
        run.model, dim=32, num_heads=2, encoder_depth=1, decoder_depth=1, num_latents=2, patch_size=16
    )
    validation = replace(run.validation, count=4, every=2, budgets=(1, 2))
    data = replace(run.data, source="scenes:count=8")
    return replace(run, model=model, validation=validation, batch_size=2, micro_batch=2, data=data)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes of the study with tiny models."""
    runs = {name: _tiny(name) for name in ("scenes-64-flow", "scenes-64-direct")}
    for name, run in runs.items():
        monkeypatch.setitem(RECIPES, name, lambda run=run: run)


def test_every_arm_differs_in_what_its_name_says() -> None:
    arms = scene_arms(seeds=(0, 1), pictures=6400)
    assert len({arm.name for arm in arms}) == len(arms) == 12
    for arm in arms:
        assert (arm.run.model.placement == "none") == (arm.text == "none")
        assert (arm.run.data.source == "scenes:name") == (arm.text == "both-name")
        assert arm.run.steps * arm.run.batch_size == 6400
    assert {arm.text for arm in arms} == set(TEXTS)


@pytest.mark.slow
def test_the_command_trains_scores_and_goes_on(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    judge = tmp_path / "judge.safetensors"
    Judge(concepts_of(SceneSource("test-drawing", SceneOptions()).drawings)).save(judge)
    options = {
        "out": tmp_path / "study",
        "pictures": 4,
        "seeds": (0,),
        "judge": judge,
        "limit": 4,
        "budgets": (1, 2),
    }
    record = tmp_path / "record.json"
    command.scenes(**options, only=(("both-flow-seed0",),), record=record)
    found = json.loads(record.read_text())
    assert list(found["arms"]) == ["both-flow-seed0"]
    assert "none-flow-seed0" in found["not_run"]
    rows = found["arms"]["both-flow-seed0"]
    assert {row["captions"] for row in rows} == {
        "right",
        "none",
        "wrong",
        "right, two samples",
        "one fact changed",
    }
    assert {row["steps"] for row in rows} == {0, 8}
    first = next(row for row in rows if row["split"] == "test-drawing" and row["captions"] == "right")
    assert {"psnr", "facts", "fact_thing", "colour_error", "perceptual_effnet_lite2", "bits"} <= set(first)
    command.scenes(**options, gather=True, record=record)
    assert json.loads(record.read_text())["arms"] == found["arms"]
    text = (tmp_path / "study/tables.md").read_text()
    assert "facts right, both" in text
    assert "how often the picture follows it" in text
    assert "tables.md" in capsys.readouterr().out


def test_tables_say_how_many_tokens_captions_save() -> None:
    def rows(shift: float, captions: str) -> list[Row]:
        where = {"split": "test-drawing", "captions": captions, "steps": 0, "count": 10}
        return [where | {"budget": k, "facts": shift + 0.1 * i} for i, k in enumerate((1, 2, 4))]

    text = tables({"none-direct-seed0": rows(0.2, "none"), "both-direct-seed0": rows(0.3, "right")})
    assert "| facts right, none | 0.200 | 0.300 | 0.400 |" in text
    assert "| facts right, both | 0.300 | 0.400 | 0.500 |" in text
    assert "| facts right | 2.00 | 2.00 | > 1.00 |" in text


def test_an_unknown_arm_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="arms"):
        command.scenes(out=tmp_path / "study", only=(("text-flow",),))
