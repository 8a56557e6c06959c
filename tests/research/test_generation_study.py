"""The generation study: the same generator on several tokenizers' latents, over several sittings, told in a table."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from research import scoring
from research.command import run
from research.generation import study as generation
from research.generation.__main__ import generation as command
from research.generation.study import GenerationSetting, generation_arms, model_for, study_generation
from textok.evaluation.results import Result
from textok.models.bottleneck import FSQConfig, VQConfig
from textok.models.dit import DiTConfig
from textok.models.maskgit import MaskGITConfig
from textok.models.tokenizer import TexTokConfig
from textok.recipes.generators import GENERATOR_RECIPES, icons_64_dit, toy_dit
from textok.training.generator.config import GeneratorRun
from textok.training.run import BudgetDraw
from tiny import tiny_model

NAMED = {"both": TexTokConfig(), "none": TexTokConfig(placement="none")}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folders = {}
    for placement in ("both", "none"):
        folders[placement] = str(tmp_path_factory.mktemp(placement))
        tiny_model(placement=placement, num_latents=32).save_pretrained(folders[placement], name=placement)
    return folders


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> GeneratorRun:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(scoring, "FEATURE_SIDE", 32)  # what the judges say of so little training is not read
    run = toy_dit()
    return replace(
        run,
        model=DiTConfig(dim=32, depth=1, num_heads=2),
        preview=replace(run.preview, every=100, budgets=(8,)),
        steps=2,
        batch_size=4,
    )


def test_arms_differ_in_their_latents_or_their_budgets(tmp_path: Path) -> None:
    base = icons_64_dit()
    arms = {arm.name: arm for arm in generation_arms(base, NAMED, tmp_path)}
    assert list(arms) == [
        "generator-both", "generator-none", "generator-both-only-8", "generator-both-only-32",
    ]  # fmt: skip
    both, none = arms["generator-both"].run, arms["generator-none"].run
    assert both.latents != none.latents and both.budgets == none.budgets == base.budgets
    alone = arms["generator-both-only-8"]
    assert alone.run.latents == both.latents and alone.budgets == (8,)
    assert alone.run.budgets == BudgetDraw(kind="fixed", length=8)
    for arm in arms.values():
        assert (arm.run.model, arm.run.steps, arm.run.seed) == (base.model, base.steps, base.seed)
    with pytest.raises(ValueError, match="got none"):
        generation_arms(base, {}, tmp_path)


def test_codes_get_a_maskgit_of_the_same_size(tmp_path: Path) -> None:
    base = icons_64_dit()
    named = NAMED | {"fsq": TexTokConfig(bottleneck=FSQConfig()), "vq": TexTokConfig(bottleneck=VQConfig())}
    arms = {arm.tokenizer: arm.run.model for arm in generation_arms(base, named, tmp_path, alone=())}
    fsq, vq = arms["fsq"], arms["vq"]
    assert isinstance(fsq, MaskGITConfig) and isinstance(vq, MaskGITConfig) and arms["none"] == base.model
    assert (fsq.dim, fsq.depth, fsq.num_heads) == (base.model.dim, base.model.depth, base.model.num_heads)
    assert (fsq.num_codes, fsq.factors, fsq.base) == (64_000, 2, 512), "the first three channels, the others"
    assert (vq.num_codes, vq.factors) == (4096, 1)
    other = TexTokConfig(bottleneck=FSQConfig(levels=(3, 5, 9)))
    assert model_for(base.model, other) == replace(fsq, num_codes=135, base=15)


@pytest.mark.slow
def test_a_discrete_tokenizer_in_the_study(small: GeneratorRun, drawings: Path, tmp_path: Path) -> None:
    tiny_model(FSQConfig(), num_latents=32).save_pretrained(tmp_path / "weights", name="fsq")
    setting = GenerationSetting(data=str(drawings), limit=16)
    out = tmp_path / "study"
    study_generation(small, {"fsq": str(tmp_path / "weights")}, out, setting=setting, only=["generator-fsq"])
    found = json.loads((out / "results.json").read_text())["arms"]["generator-fsq"]
    assert len(found["rows"]) == 6
    assert found["settings"]["sampling"]["steps"] == 12 and "time_shift" not in found["settings"]["sampling"]
    assert "| generator-fsq | 32 | 3 |" in (out / "tables.md").read_text()


@pytest.mark.slow
def test_a_study_over_two_sittings(
    small: GeneratorRun,
    tokenizers: dict[str, str],
    drawings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setting = GenerationSetting(data=str(drawings), limit=16)  # as the command line has it
    study_generation(small, tokenizers, tmp_path, setting=setting, only=["generator-both"])
    assert "Not run yet: generator-none" in (tmp_path / "tables.md").read_text()
    written = (tmp_path / "generator-both" / "scores.json").stat().st_mtime_ns
    only = ["generator-none", "generator-both-only-8"]
    study_generation(small, tokenizers, tmp_path, setting=setting, only=only)
    assert (tmp_path / "generator-both" / "scores.json").stat().st_mtime_ns == written, "scored once"
    found = json.loads((tmp_path / "results.json").read_text())["arms"]
    assert set(found) == {"generator-both", *only}
    cells = {name: [(r["budget"], r["guidance"]) for r in arm["rows"]] for name, arm in found.items()}
    assert cells["generator-both-only-8"] == [(8, 1.0), (8, 3.0)]
    assert cells["generator-none"] == [(k, g) for k in (8, 16, 32) for g in (1.0, 3.0)]
    assert "Not run yet: generator-both-only-32." in (tmp_path / "tables.md").read_text()
    with pytest.raises(ValueError, match="got generator-some"):
        study_generation(small, tokenizers, tmp_path, setting=setting, only=["generator-some"])

    page = tmp_path / "page.md"
    page.write_text("<!-- study -->\n<!-- end study -->\n")
    monkeypatch.setitem(GENERATOR_RECIPES, "small", lambda: small)
    words = ["--tokenizers", ",".join(f"{name}={folder}" for name, folder in tokenizers.items())]
    words += [
        "--recipe",
        "small",
        "--data",
        drawings,
        "--limit",
        16,
        "--out",
        tmp_path,
        "--gather",
        "--publish",
        page,
    ]
    assert run(command, list(map(str, words)), prog="generation") == 0
    assert "| generator-both-only-8 | 8 | 3 |" in page.read_text()
    assert (tmp_path / "generator-both" / "scores.json").stat().st_mtime_ns == written, "still scored once"


def test_no_gain_without_both_tokenizers(tmp_path: Path) -> None:
    named = NAMED | {"fsq": TexTokConfig(bottleneck=FSQConfig())}
    arms = generation_arms(icons_64_dit(), named, tmp_path)
    rows = [
        {"split": "test", "budget": k, "guidance": g, generation.FD: 10.0 * k}
        for k in generation.BUDGETS
        for g in generation.GUIDANCE
    ]
    result = Result(settings={}, rows=rows, per_image=[])
    some = {arm.name: result for arm in arms if arm.tokenizer != "none"}
    assert "Mean relative gain" not in generation.tables(arms, some)
    assert "of both over none: +0.0 %" in generation.tables(arms, {arm.name: result for arm in arms})


def test_the_gain_is_of_the_first_tokenizer_over_the_second(tmp_path: Path) -> None:
    arms = generation_arms(icons_64_dit(), NAMED, tmp_path)
    scored = {}
    for arm, factor in zip(arms[:2], (0.9, 1.0), strict=True):
        rows = [
            {"split": "test", "budget": k, "guidance": g, generation.FD: factor * 10 * k * g}
            for k in arm.budgets
            for g in (1.0, 3.0)
        ]
        scored[arm.name] = Result(settings={}, rows=rows, per_image=[], made_by={})
    text = generation.tables(arms, scored)
    assert "of both over none: +10.0 % with guidance 1, +10.0 % with guidance 3." in text
    assert "| generator-both | 8 | 1 | 72 |" in text


def test_a_tokenizer_without_a_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, ["--tokenizers", "weights", "--out", str(tmp_path / "x")], prog="generation") == 2
    assert "expected NAME=FOLDER" in capsys.readouterr().err
