"""The caption study from one command: trained arms, scores kept, tables, and what is not run yet."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from textok.recipes.tokenizers import icons_64, toy
from textok.study import captions, scoring
from textok.study.arms import TABLES, study_arms
from textok.study.captions import copy_record, publish, study_captions
from textok.training.tokenizer_run import TokenizerRun

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


def test_arms_differ_from_their_base_in_one_thing_each() -> None:
    base = icons_64()
    arms = {arm.name: arm for arm in study_arms(base, seeds=(0, 1, 2))}
    assert {arm.table for arm in arms.values()} == set(TABLES)
    assert [name for name in arms if "seed" in name][:2] == ["both-seed0", "none-seed0"]
    for arm in arms.values():
        same = ["data", "loss", "optimizer", "batch_size"]
        same += [] if arm.table == "budgets" else ["budgets"]
        same += [] if arm.name.endswith("longer") else ["steps"]
        assert all(getattr(arm.run, name) == getattr(base, name) for name in same), arm.name
    drawn = {arm.run.budgets for arm in arms.values() if arm.table == "budgets"}
    assert len(drawn) == 7 and base.budgets in drawn, (
        "five other draws, fixed ones, and the base's with a mask token"
    )
    assert arms["budgets-mask-token"].run.model == replace(base.model, tail="mask")
    assert arms["none-longer"].run.steps == arms["both-longer"].run.steps == 4 * base.steps
    assert arms["both-plain"].run.model == replace(base.model, text_bias=None)
    assert arms["none-seed2"].run == replace(
        base, name="none-seed2", seed=2, model=replace(base.model, placement="none")
    )
    with pytest.raises(ValueError, match="seeds"):
        study_arms(base, seeds=())


def test_a_study_over_two_sittings(
    base: TokenizerRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "FEATURE_SIDE", 32)  # what the judges say of so little training is not read
    settings = {
        "photos": str(ROOT / "datasets/photos-256"),
        "seeds": (0,),
        "limit": 8,
    }  # too few for Fréchet distances: those take seconds each
    study_captions(base, tmp_path, tables=("placement",), only=("both-seed0",), **settings)
    first = json.loads((tmp_path / "results.json").read_text())
    assert set(first["arms"]) == {"both-seed0"} and "none-seed0" in first["not_run"]
    written = (tmp_path / "both-seed0" / "scores.json").stat().st_mtime_ns

    only = ("none-seed0", "bottleneck-fsq", "budgets-fixed-8")
    asked = ("placement", "bottleneck", "quality", "budgets")
    study_captions(base, tmp_path, tables=asked, only=only, shipped="icons-128", **settings)
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
    marks = "\n".join(f"<!-- table {n} -->\n<!-- end table {n} -->" for n in names)
    page.write_text(f"<!-- record -->\n<!-- end record -->\n{marks}\n")
    copy_record(tmp_path, tmp_path / "kept" / "study.json")
    assert json.loads((tmp_path / "kept" / "study.json").read_text()) == second
    publish(tmp_path, page, record=tmp_path / "kept" / "study.json")
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


def test_unknown_tables_and_arms_are_refused(base: TokenizerRun, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tables: got speed; expected some of placement"):
        study_captions(base, tmp_path, photos="p", tables=("speed",))
    with pytest.raises(ValueError, match="arms: got both; expected some of both-seed0"):
        study_captions(base, tmp_path, photos="p", only=("both",))


def test_a_study_that_is_asked_to_stop_starts_no_further_arm(
    base: TokenizerRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(captions, "train_tokenizer", lambda run, out: begun.append(run.name))
    with pytest.raises(KeyboardInterrupt):
        study_captions(base, tmp_path, photos="p", tables=("placement",))
    assert begun == ["both-seed0"]
