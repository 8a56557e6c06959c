"""The caption study from one command: trained arms, scores kept, tables, and what is not run yet."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from research import scoring
from research.captions import study as captions
from research.captions.__main__ import Table
from research.captions.arms import TABLES, study_arms
from research.captions.record import read_record
from research.captions.study import chosen_arms, publish, study_captions
from textok.pipeline.text import CachedText
from textok.recipes.tokenizers import icons_64, toy
from textok.training.tokenizer.config import TokenizerRun

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def base(drawings: Path, tmp_path_factory: pytest.TempPathFactory) -> TokenizerRun:
    run = toy()
    return replace(
        run,
        data=replace(run.data, source=str(drawings), split="train"),
        text_cache=str(tmp_path_factory.mktemp("captions")),
        validation=replace(run.validation, every=1000, count=4, budgets=(8,), pictures=1),
        steps=2,
        batch_size=8,
        checkpoint_every=2,
    )


def test_the_command_knows_every_table() -> None:
    assert get_args(Table) == TABLES


def test_arms_differ_from_their_base_in_one_thing_each() -> None:
    base = icons_64()
    arms = {arm.name: arm for arm in study_arms(base, seeds=(0, 1, 2))}
    assert {arm.table for arm in arms.values()} == set(TABLES)
    assert [name for name in arms if "seed" in name][:2] == ["both-seed0", "none-seed0"]
    for arm in arms.values():
        same = ["data", "optimizer", "batch_size"]
        same += [] if arm.table == "budgets" else ["budgets"]
        same += [] if arm.name.endswith("perceptual") else ["loss"]
        same += [] if arm.name.endswith("longer") else ["steps"]
        assert all(getattr(arm.run, name) == getattr(base, name) for name in same), arm.name
    drawn = {arm.run.budgets for arm in arms.values() if arm.table == "budgets" and arm.trainable}
    assert len(drawn) == 6 and base.budgets not in drawn, "five other draws, and fixed ones"
    retired = {name for name, arm in arms.items() if not arm.trainable}
    assert retired == {"text-minilm-mean", "text-words", "budgets-mask-token"}, "their settings are gone"
    assert arms["none-longer"].run.steps == arms["both-longer"].run.steps == 4 * base.steps
    assert arms["both-plain"].run.model == replace(base.model, text_bias=None)
    assert arms["none-seed2"].run == replace(
        base, name="none-seed2", seed=2, model=replace(base.model, placement="none")
    )
    with pytest.raises(ValueError, match="seeds"):
        study_arms(base, seeds=())


def test_a_table_takes_its_own_arms_and_the_two_it_is_read_beside(base: TokenizerRun) -> None:
    found = [arm.name for arm in chosen_arms(base, tables=("bottleneck",), seeds=(4, 5))]
    assert found == ["both-seed4", "none-seed4", "bottleneck-ae", "bottleneck-fsq", "bottleneck-vq"]


def test_the_captions_of_every_arm_can_be_cached(base: TokenizerRun, tmp_path: Path) -> None:
    models = {
        (arm.run.model.text_encoder, arm.run.model.max_text_tokens): arm.run.model for arm in study_arms(base)
    }
    assert {most for _, most in models} == {8, 16, 32, 40}
    for (_, most), model in models.items():
        text = CachedText(model, folder=str(tmp_path))
        assert text.warm(["a flat emoji of a red apple"], progress=False) == 1
        assert 1 <= text(["a flat emoji of a red apple"]).mask.sum() <= most


SETTINGS = {
    "photos": str(ROOT / "datasets/photos-256"),
    "seeds": (0,),
    "limit": 8,  # too few for Fréchet distances: those take seconds each
}


@pytest.fixture
def small_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "FEATURE_SIDE", 32)  # what the judges say of so little training is not read


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("small_features")
@pytest.mark.slow
def test_a_study_over_two_sittings(base: TokenizerRun, tmp_path: Path) -> None:
    settings = SETTINGS
    study_captions(base, tmp_path, tables=("placement",), only=("both-seed0",), **settings)
    first = json.loads((tmp_path / "results.json").read_text())
    assert set(first["arms"]) == {"both-seed0"} and "none-seed0" in first["not_run"]
    written = (tmp_path / "both-seed0" / "scores.json").stat().st_mtime_ns

    only = ("none-seed0", "bottleneck-fsq", "budgets-fixed-8")
    asked = ("placement", "bottleneck", "quality", "budgets")
    kept = tmp_path / "kept" / "study.json"
    study_captions(base, tmp_path, tables=asked, only=only, shipped="icons-128", record=kept, **settings)
    assert (tmp_path / "both-seed0" / "scores.json").stat().st_mtime_ns == written, "scored once"
    second = json.loads((tmp_path / "results.json").read_text())
    assert set(second["arms"]) == {"both-seed0", *only}
    rows = second["arms"]["both-seed0"]["rows"]
    assert {(r["split"], r["captions"]) for r in rows} == {
        (split, "right") for split in ("test-drawing", "test-concept", "photos")
    }
    assert {r["captions"] for r in second["arms"]["none-seed0"]["rows"]} == {"none"}
    assert {"right", "short", "thing", "shuffled", "near", "wrong", "none"} == {
        r["captions"] for r in second["failing_captions"]["both-seed0"]["rows"]
    }

    assert set(second["failing_captions"]) == {"both-seed0", "icons-128"}
    assert "icons-128-" in second["failing_captions"]["icons-128"]["settings"]["model"]

    page = tmp_path / "page.md"
    names = (*TABLES, "arms")
    of = base.name
    marks = "\n".join(f"<!-- table {n} of {of} -->\n<!-- end table {n} of {of} -->" for n in names)
    page.write_text(f"<!-- record of {of} -->\n<!-- end record of {of} -->\n{marks}\n")
    assert json.loads(kept.read_text()) == second
    publish(tmp_path, page, recipe=of, record=kept)
    text = page.read_text()
    assert "[study.json](kept/study.json)" in text
    assert "| both (1) |" in text and "| none (1) |" in text and "both over none" in text
    assert "rFID 1.04 / 1.11 / 1.28 / 1.49" in text
    assert "| fsq, 8 tokens | 127.7 |" in text, "8 log2 64,000"
    tables = text.split("<!-- table ")
    for table in tables[3], tables[4]:  # of bottlenecks, of failing captions
        assert "photos**, at 2 / 8 tokens" in table and "test-concept**, at 2 / 8" in table
    assert "| caption | PSNR ↑ | perceptual ↓ | retrieval ↑ |" in tables[4] and "| near | " in tables[4]
    assert re.search(r"\| 8 tokens, fixed length \|  \|  \|  \| [\d.]+ \|", text), "at its own length only"
    assert "Not run yet: encoder-seed0, decoder-seed0" in text


def recorded(base: TokenizerRun, **psnr: float) -> dict:
    """A record in which arms have one score each."""
    rows = {
        name: {"split": "test-drawing", "captions": "none" if "none" in name else "right", "budget": 8}
        | {"count": 8, "psnr": value, "retrieval_two_tower_r1": 0.5, "retrieval_two_tower_r1_original": 0.75}
        for name, value in psnr.items()
    }
    return {
        "recipe": base.name,
        "steps": base.steps,
        "arms": {
            name.replace("_", "-"): {"settings": {"model": name}, "rows": [row]} for name, row in rows.items()
        },
        "failing_captions": {"shipped": {"settings": {"model": "m"}, "rows": [rows["both_seed0"]]}},
        "intervals": [
            {"seed": 0, "split": "photos", "metric": "psnr", "budget": 8}
            | {"difference": 1.0, "low": 0.5, "high": 1.5}
        ],
    }


@pytest.mark.slow
@pytest.mark.usefixtures("small_features")
def test_a_sitting_elsewhere_adds_to_the_record(base: TokenizerRun, tmp_path: Path) -> None:
    kept, only = tmp_path / "study.json", ("text-minilm-8",)
    before = recorded(base, both_seed0=21.0, none_seed0=20.0)
    kept.write_text(json.dumps(before))
    study_captions(base, tmp_path / "out", tables=("encoder",), only=only, record=kept, **SETTINGS)
    after = json.loads(kept.read_text())
    assert set(after["arms"]) == {"both-seed0", "none-seed0", *only}
    for name in ("both-seed0", "none-seed0"):
        assert after["arms"][name]["rows"] == before["arms"][name]["rows"]
    assert after["failing_captions"]["shipped"]["rows"] == before["failing_captions"]["shipped"]["rows"]
    assert after["intervals"] == before["intervals"]
    assert after["arms"]["text-minilm-8"]["made_by"]["cpu"], "which machine an arm comes from"
    tables = (tmp_path / "out" / "tables.md").read_text()
    assert "| minilm-40 (1) | 21.00 |" in tables and "| minilm-8 (1) |" in tables, "beside a recorded base"
    assert "| test-drawing, psnr | +5.0 % |" in tables
    assert "| seed 0, photos, psnr | 8 | +1.000 | +0.500 to +1.500 |" in tables
    assert "the originals' own retrieval is 0.750" in tables


def test_a_record_of_another_study_is_refused(base: TokenizerRun, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    assert not read_record(path, base).arms, "none yet"
    path.write_text(
        json.dumps({"recipe": "icons-64", "steps": 2000, "arms": {}, "failing_captions": {}, "intervals": []})
    )
    with pytest.raises(ValueError, match="icons-64, 2000 steps"):
        study_captions(base, tmp_path / "out", photos="p", record=path)
    of_toy = {"recipe": "toy", "steps": 2, "failing_captions": {}, "intervals": []}
    no_split = {"settings": {"model": "m"}, "rows": [{"captions": "right", "budget": 8, "count": 8}]}
    broken_row = json.dumps({**of_toy, "arms": {"both-seed0": no_split}})
    for broken in ("{", "[]", '{"arms": {}}', '{"recipe": "toy", "steps": 2, "arms": 3}', broken_row):
        path.write_text(broken)
        with pytest.raises(ValueError, match=r"record.json:"):
            read_record(path, base)
        assert path.read_text() == broken


def test_arms_of_a_record_are_not_trained_again(
    base: TokenizerRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(recorded(base, both_seed0=20.0)))
    begun: list[str] = []
    monkeypatch.setattr(captions, "train_tokenizer", lambda run, out: begun.append(run.name))
    with pytest.raises(KeyboardInterrupt):
        study_captions(base, tmp_path / "out", photos="p", tables=("placement",), record=path)
    assert begun == ["none-seed0"]
    assert "| both (1) | 20.00 |" in (tmp_path / "out" / "tables.md").read_text()
    with pytest.raises(KeyboardInterrupt):
        study_captions(base, tmp_path / "out", photos="p", only=("both-seed0",), record=path)
    assert begun == ["none-seed0", "both-seed0"], "unless it is asked for by name"


def test_a_page_without_marks_of_the_recipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tables.md").write_text("## placement\n\nNot run yet.\n")
    page = tmp_path / "page.md"
    page.write_text("<!-- table placement of icons-64 -->\nold\n<!-- end table placement of icons-64 -->\n")
    with pytest.raises(ValueError, match="has no marks of toy"):
        publish(tmp_path, page, recipe="toy")
    publish(tmp_path, page, recipe="icons-64")
    assert "old" in page.read_text(), "what is not run here stays as it was published"


def test_unknown_tables_and_arms_are_refused(base: TokenizerRun, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tables:"):
        study_captions(base, tmp_path, photos="p", tables=("speed",))
    with pytest.raises(ValueError, match="arms:"):
        study_captions(base, tmp_path, photos="p", only=("both",))


def test_a_study_that_is_asked_to_stop_starts_no_further_arm(
    base: TokenizerRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(captions, "train_tokenizer", lambda run, out: begun.append(run.name))
    with pytest.raises(KeyboardInterrupt):
        study_captions(base, tmp_path, photos="p", tables=("placement",))
    assert begun == ["both-seed0"]
