"""The benchmarks of soft budgets run on a few pictures, and their tables agree with each other."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from textok.budgets.search import KnownCurves
from textok.codec import coded_sizes
from textok.data import DataConfig, EvalLoader
from textok.models.bottleneck import KLConfig
from textok.models.text import TextCondition
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.training.quality_predictor import PredictorRun, train_predictor
from tiny import tiny_model

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
COUNTS = {"falls": 1, "mean": 24, "tokens": 40, "promise": 16, "captions": 12, "time": 7}


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def rows_of(script: ModuleType, *words: object, out: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    monkeypatch.setattr("sys.argv", ["benchmark", *map(str, words), "--out", str(out)])
    script.main()
    return json.loads(out.read_text())["rows"]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny tokenizer that reads the lengths of captions."""
    tiny_model(KLConfig(latent_dim=8), num_latents=8, text_dim=6).save_pretrained(
        tmp_path / "model", name="tiny"
    )

    def text_of(_self: ImageTokenizer, captions: list[str]) -> TextCondition:
        states = [torch.full((min(1, len(text)), 6), float(len(text))) for text in captions]
        return TextCondition.pad(states).to("cpu", _self.dtype)

    monkeypatch.setattr(ImageTokenizer, "text_of", text_of)
    return tmp_path / "model"


@pytest.mark.slow
def test_what_choosers_are_worth(
    model: Path, icons: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = PredictorRun(model=str(model), data=str(icons), limit=12, num_probes=4, steps=10, scored=None)
    train_predictor(made, tmp_path / "head")
    script = load("soft_budget", monkeypatch)
    monkeypatch.setattr(script, "THRESHOLDS", 20)
    monkeypatch.setattr(script, "PRICES", 10)
    words = ["--model", model, "--predictor", tmp_path / "head", "--data", icons, "--splits", "val"]
    words += ["--limit", 12, "--timed", 4, "--rounds", 1]
    found = rows_of(script, *words, out=tmp_path / "out.json", monkeypatch=monkeypatch)
    assert {name: sum(row["table"] == name for row in found) for name in COUNTS} == COUNTS
    assert all(row["pictures"] == 12 and row["split"] == "val" for row in found)
    assert {row["range"] for row in found if row["table"] == "mean"} == {"short", "middle", "long", "any"}
    rows = {name: [r for r in found if r["table"] == name and r.get("range") == "any"] for name in COUNTS}
    assert [row["equal"] for row in rows["tokens"]] == ["loss"] * 5 + ["quality"] * 5
    by_loss, by_quality = rows["tokens"][0], rows["tokens"][5]
    assert (
        by_loss["tokens_same_mean_quality"] <= by_loss["oracle_tokens"] and by_quality["share_reached"] <= 1
    )
    oracle, *_, fixed, slope = rows["tokens"][5:]
    assert [row["chooser"] for row in (oracle, fixed, slope)] == ["oracle", "fixed", "slope"]
    assert oracle["tokens_same_share_reached"] <= oracle["oracle_tokens"] <= 8
    assert oracle["threshold"] == rows["mean"][3]["threshold"] == rows["captions"][0]["threshold"]
    assert all(abs(row["error"]) == pytest.approx(abs(row["others"] - row["asked"])) for row in rows["mean"])
    promised = {row["chooser"]: row for row in rows["promise"]}
    assert list(promised) == ["oracle", "bisection", "predictor", "uncorrected"]
    assert promised["oracle"]["share_said"] == promised["oracle"]["share_reached"] == oracle["share_reached"]
    assert all(0 <= row["share_of_said_reached"] <= 1 for row in promised.values())
    timed = [row for row in found if row["table"] == "time"]
    assert [row["equal"] for row in timed] == ["quality"] * 3 + ["loss"] * 3 + ["none"]
    assert timed[-1]["times_encode"] == 1 and all(row["seconds_per_image"] > 0 for row in timed)


@pytest.mark.slow
def test_bytes_and_batches(model: Path, icons: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("soft_budget_file", monkeypatch)
    tokenizer = ImageTokenizer.from_pretrained(model)
    loader = EvalLoader(DataConfig(source=str(icons), split="val", size=(32, 32)), batch_size=16)
    sizes = coded_sizes(tokenizer.model)(tokenizer.encode(next(iter(loader)).images).values).mean(dim=0)
    asked = [float(sizes[low - 1 : high].mean()) for low, high in ((2, 5), (4, 7), (5, 8))]
    words = ["--model", model, "--data", icons, "--split", "val", "--bytes", *asked, "--batched", 4]
    found = rows_of(script, *words, out=tmp_path / "out.json", monkeypatch=monkeypatch)
    stored = [row for row in found if row["table"] == "bytes"]
    assert [row["range"] for row in stored] == ["short", "middle", "long"]
    for row in stored:
        assert row["error"] == row["got"] - row["asked"]
        assert row["got"] == pytest.approx(row["asked"], rel=0.5)  # eight pictures, of an untrained model
    batched = [row for row in found if row["table"] == "batches"]
    assert [(row["precision"], row["by"]) for row in batched] == [
        ("float32", "quality"), ("float32", "loss"), ("bfloat16", "quality"), ("bfloat16", "loss"),
    ]  # fmt: skip
    assert all(0 <= row["other_budget"] <= 4 and row["pictures"] == 4 for row in batched)


def test_ways_of_decoding_take_turns(
    model: Path, icons: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load("soft_decoding_speed", monkeypatch)
    words = ["--model", model, "--data", icons, "--split", "val", "--range", 2, 6, "--rounds", 1]
    found = rows_of(
        script, *words, "--pictures", 6, "--batch", 4, out=tmp_path / "out.json", monkeypatch=monkeypatch
    )
    assert [row["way"] for row in found] == ["together", "in the order given", "one at a time", "all tokens"]
    assert found[0]["times_together"] == 1 and all(row["seconds_per_image"] > 0 for row in found)
    assert 2 <= json.loads((tmp_path / "out.json").read_text())["settings"]["mean_tokens"] <= 6


def test_falls_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    falls = load("soft_budget", monkeypatch).falls
    random = torch.rand(20, 8, generator=torch.Generator().manual_seed(0)).double()
    rising = falls(KnownCurves(random.cumsum(dim=1)), lower_is_better=False)
    assert (rising.steps, rising.pictures, rising.mean_fall, rising.bisection_differs) == (0, 0, 0, 0)
    quality = torch.tensor([[1.0, 2.0, 1.5, 3.0], [1.0, 2.0, 3.0, 4.0]])
    found = falls(KnownCurves(quality), lower_is_better=False)
    assert (found.steps, found.pictures, found.mean_fall) == (1 / 6, 0.5, 0.5)
    assert falls(KnownCurves(-quality), lower_is_better=True) == found
    assert falls(KnownCurves(random), lower_is_better=False).bisection_differs > 0.1
