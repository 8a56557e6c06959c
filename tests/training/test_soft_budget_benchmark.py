"""The benchmark of soft budgets runs on a few pictures, and its tables agree with each other."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok, TexTokConfig
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.training.quality_predictor import PredictorRun, train_predictor

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "soft_budget.py"
TABLES = ("falls", "mean", "tokens", "captions", "time")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("soft_budget_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_a_few_pictures(
    script: ModuleType, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    depth = {"encoder_depth": 1, "decoder_depth": 1}
    config = TexTokConfig(
        image_size=32, patch_size=8, dim=32, num_heads=2, num_latents=8, text_dim=6, **depth
    )
    TexTok(config).save_pretrained(tmp_path / "model", name="tiny")

    def text_of(_self: ImageTokenizer, captions: list[str]) -> TextCondition:
        states = [torch.full((min(1, len(text)), 6), float(len(text))) for text in captions]
        return TextCondition.pad(states).to("cpu", _self.dtype)

    monkeypatch.setattr(ImageTokenizer, "text_of", text_of)
    run = PredictorRun(
        model=str(tmp_path / "model"), data=str(pictures), limit=12, looks=4, steps=10, scored=None
    )
    train_predictor(run, tmp_path / "head")
    words = ["--model", tmp_path / "model", "--predictor", tmp_path / "head", "--data", pictures]
    words += ["--splits", "val", "--limit", 12, "--timed", 4, "--rounds", 1, "--out", tmp_path / "out.json"]
    monkeypatch.setattr("sys.argv", ["soft_budget.py", *map(str, words)])
    script.main()
    found = json.loads((tmp_path / "out.json").read_text())
    rows = {name: [row for row in found["rows"] if row["table"] == name] for name in TABLES}
    assert {name: len(part) for name, part in rows.items()} == {
        "falls": 1, "mean": 6, "tokens": 8, "captions": 3, "time": 4,
    }  # fmt: skip
    assert all(row["pictures"] == 12 and row["split"] == "val" for row in found["rows"])
    assert [row["equal"] for row in rows["tokens"]] == ["loss"] * 4 + ["quality"] * 4
    by_loss, by_quality = rows["tokens"][0], rows["tokens"][4]
    assert (
        by_loss["tokens_same_mean_quality"] <= by_loss["oracle_tokens"] and by_quality["share_reached"] <= 1
    )
    oracle, *_, fixed = rows["tokens"][4:]
    assert oracle["chooser"] == "oracle" and fixed["chooser"] == "fixed"
    assert oracle["tokens_same_share_reached"] <= oracle["oracle_tokens"] <= 8
    assert oracle["threshold"] == rows["mean"][3]["threshold"] == rows["captions"][0]["threshold"]
    assert all(abs(row["error"]) == pytest.approx(abs(row["others"] - row["asked"])) for row in rows["mean"])
    encode = next(row for row in rows["time"] if row["chooser"] == "encode")
    assert encode["times_encode"] == 1 and all(row["seconds_per_image"] > 0 for row in rows["time"])
