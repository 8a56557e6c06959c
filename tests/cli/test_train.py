"""Recipes on the command line: every value is an option, and a misspelt one is told."""

import json
from pathlib import Path

import pytest

from textok.cli import main
from textok.models.bottleneck import FSQConfig
from textok.recipes import GENERATOR_RECIPES, RECIPES
from textok.training.tokenizer.config import TokenizerRun


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TokenizerRun, Path]]:
    """What training was called with; nothing is trained."""
    calls: list[tuple[TokenizerRun, Path]] = []

    def train(
        run: TokenizerRun, out: Path, *, hours: float | None, extend: bool, accept_changes: bool
    ) -> Path:
        calls.append((run, out))
        return out / "weights"

    monkeypatch.setattr("textok.training.tokenizer.train.train_tokenizer", train)
    monkeypatch.setattr("textok.cli.train.steps_of", lambda _weights: 10**9)  # as if to the end
    return calls


def test_a_recipe_as_it_is(trained: list, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "tokenizer", "icons-128", "--out", "run"]) == 0
    assert trained == [(RECIPES["icons-128"](), Path("run"))]
    assert capsys.readouterr().out.strip() == str(Path("run/weights"))


def test_values_are_options(trained: list) -> None:
    words = ["--steps", "7", "--data.source", "here", "--model.dim", "64", "--validation.budgets", "1,2"]
    assert main(["train", "tokenizer", "icons-128", *words, "--out", "run"]) == 0
    run, _ = trained[0]
    assert (run.steps, run.data.source, run.model.dim, run.validation.budgets) == (7, "here", 64, (1, 2))
    assert run.data.split == RECIPES["icons-128"]().data.split


def test_another_bottleneck_is_a_word(trained: list) -> None:
    words = ["--out", "run", "model.bottleneck:fsq-config", "--model.bottleneck.levels", "8,5"]
    assert main(["train", "tokenizer", "icons-128", *words]) == 0
    assert trained[0][0].model.bottleneck == FSQConfig(levels=(8, 5))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["icons-12", "--out", "run"], "did you mean 'icons-128'?"),
        (["icons-128", "--out", "run", "--stepz", "3"], "--steps"),
        (["icons-128", "--out", "run", "--model.dmi", "3"], "--model.dim"),
        (["icons-128", "--out", "run", "--steps", "many"], "invalid literal"),
        (["icons-128", "--out", "run", "--steps", "0"], "steps: got 0"),
        (["icons-128"], "--out"),
        (["--out", "run"], "RECIPE"),
    ],
)
def test_a_mistake_is_told(
    words: list[str], message: str, trained: list, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "tokenizer", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert trained == []


@pytest.mark.slow
def test_every_recipe_is_listed_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {kind: set(lines) for kind, lines in listed.items()} == {
        "tokenizer": set(RECIPES),
        "generator": set(GENERATOR_RECIPES),
    }
    assert all(line.endswith(".") for lines in listed.values() for line in lines.values())
    for name in ("icons-128", list(RECIPES)[-1]):
        assert main(["info", name, "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)["recipe"]
        assert facts["parameters"]["total"] > 1000 and facts["settings"]["steps"] == RECIPES[name]().steps
    for name in ("icons-128-dit", "icons-128-maskgit"):
        assert main(["info", name, "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)["recipe"]
        assert facts["parameters"] > 10e6 and facts["settings"]["steps"] == GENERATOR_RECIPES[name]().steps


def test_an_unknown_name_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "icons-182"]) == 2
    assert "did you mean 'icons-128'?" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_training_is_no_success(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
) -> None:
    """Scripts that train in phases must not go on with half-trained weights."""
    from textok.training.tokenizer import train as training

    real = training.train_tokenizer
    monkeypatch.setattr(
        training, "train_tokenizer", lambda run, out, **options: real(run, out, stop_at=1, **options)
    )
    words = ["train", "tokenizer", "toy", "--out", str(tmp_path), "--model.placement", "none", "--steps", "3"]
    words += ["--data.source", "icons", "--batch-size", "4"]
    assert main(words) == 130
    said = capsys.readouterr()
    assert "stopped at step 1 of 3" in said.out and said.out.splitlines()[-1] != str(tmp_path / "weights")
    monkeypatch.setattr(training, "train_tokenizer", real)
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "weights")
