"""``textok fit``: what it chooses, and the whole way at toy size with an interruption between stages."""

import json
from pathlib import Path

import pytest
import torch

from textok import Pipeline
from textok.cli import fit, main
from textok.data.latents import LatentCache
from textok.models.tokenizer import TexTok
from textok.recipes import GENERATOR_RECIPES, RECIPES
from textok.recipes.fit import Plan, choose, commands, steps
from tiny import write_pictures


def test_few_pictures_tune_shipped_weights() -> None:
    plan = choose(32, None, 0.0, mix=True)
    assert (plan.init_from, plan.generator, plan.mix, plan.vary) == (
        "icons-128",
        "icons-64-dit",
        "icons:0.25",
        True,
    )
    assert (plan.tokenizer_steps, plan.generator_steps) == (200, 600)
    assert (plan.tokenizer_batch, plan.generator_batch) == (16, 32)
    assert choose(32, None, 0.0, mix=False).mix is None and choose(1, None, 0.0, mix=True).mix is None


def test_hours_bound_the_steps() -> None:
    plan = choose(2000, 0.2, 40.0, mix=True)
    assert plan.tokenizer_steps == int(0.8 * 0.45 * 720 * 40 / 16)
    assert (
        plan.generator_steps == int(0.8 * 0.45 * 720 * 40 / 64) == steps("generator", 2000, 0.45 * 720, 40.0)
    )
    assert plan.generator == "icons-128-dit"
    assert (
        choose(2000, 1000.0, 40.0, mix=True).tokenizer_steps
        == choose(2000, None, 0.0, mix=True).tokenizer_steps
    )


def test_many_pictures_and_hours_start_from_nothing() -> None:
    assert choose(5000, 48.0, 40.0, mix=True).init_from is choose(5000, 48.0, 40.0, mix=True).mix is None
    for count, hours in ((5000, 0.5), (4999, 48.0)):
        assert choose(count, hours, 40.0, mix=True).init_from == "icons-128"


@pytest.mark.parametrize("count", [32, 2000, 9000])
def test_the_recipes_of_a_plan_exist(count: int) -> None:
    plan = choose(count, None, 0.0, mix=True)
    assert plan.tokenizer in RECIPES and plan.generator in GENERATOR_RECIPES


@pytest.mark.parametrize(("count", "hours", "key"), [(0, None, "count"), (9, 0.0, "hours")])
def test_a_plan_needs_pictures_and_time(count: int, hours: float | None, key: str) -> None:
    with pytest.raises(ValueError, match=key):
        choose(count, hours, 1.0, mix=True)


def test_what_is_chosen_is_in_the_commands() -> None:
    plan = choose(32, None, 0.0, mix=True)
    made = commands(plan, data="own", out=Path("m"), captions="c", seed=7, mirror=True, skip_bad=True)
    words = made["tokenizer"]
    assert {"--data.flip", "--data.crop", "--mix", "--init-from", "--data.captions"} <= set(words)
    assert words[words.index("--data.on-bad") + 1] == "skip" and "7" in made["generator"]
    assert "--flip" in made["latents"] and "--flip" not in made["latents-held-out"]
    assert made["latents-held-out"][-1] == "m/latents-held-out"


def test_several_processes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main(["fit", str(tmp_path), "--out", str(tmp_path / "m")]) == 2
    error = capsys.readouterr().err
    assert "processes: got 2" in error and error.count("\n") == 1


def test_an_empty_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own").mkdir()
    assert main(["fit", str(tmp_path / "own"), "--out", str(tmp_path / "m")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("textok: error: ") and error.count("\n") == 1 and not (tmp_path / "m").exists()


COUNTS = ("tokenizer_steps", "generator_steps", "tokenizer_batch", "generator_batch")


@pytest.mark.slow
def test_a_fit_goes_all_the_way_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_pictures(tmp_path / "own", [f"shade number {n}" for n in range(12)])
    torch.manual_seed(0)
    TexTok(RECIPES["toy"]().model).save_pretrained(tmp_path / "start", name="start")
    toy = {"tokenizer": "toy", "generator": "toy-dit", "init_from": "start"}
    plan = Plan(**toy, **dict.fromkeys(COUNTS, 3), reasons=("it is a test",))
    monkeypatch.setattr(fit.recipes, "choose", lambda *_, **__: plan)
    monkeypatch.setattr(fit, "_measured_speed", lambda *_: 1e-6)
    run = fit._run

    def interrupted(words: list[str]) -> None:
        if words[1] == "generator":
            raise KeyboardInterrupt
        run(words)

    monkeypatch.setattr(fit, "_run", interrupted)
    words = ["fit", "own", "--out", "m", "--hours", "0.1"]
    assert main(words) == 130, capsys.readouterr().err
    monkeypatch.setattr(fit, "_run", run)
    before = (tmp_path / "m/tokenizer/weights/model.safetensors").stat().st_mtime_ns
    assert main([*words, "--seed", "1"]) == 2
    assert "seed: got 1, expected 0" in capsys.readouterr().err
    assert main(words) == 0, capsys.readouterr().err
    said = capsys.readouterr()
    assert said.out.endswith("m/report.html\n") and "done: textok train tokenizer" in said.err
    assert (tmp_path / "m/tokenizer/weights/model.safetensors").stat().st_mtime_ns == before

    results = json.loads((tmp_path / "m/report.json").read_text())
    assert set(results["psnr_db"]) == {"start", "tuned"} and results["held_out"] == 6
    assert results["facts"]["train"] == 6 and all(prompt.startswith("shade") for prompt in results["prompts"])
    assert "Pipeline.from_pretrained('m')" in (tmp_path / "m/README.md").read_text()
    assert (tmp_path / "m/commands.sh").read_text().count("textok ") == 4
    caches = [LatentCache.open(tmp_path / "m" / name) for name in ("latents", "latents-held-out")]
    learned, judged = (set(cache.batch(range(len(cache))).keys) for cache in caches)
    assert len(learned) == len(judged) == 6 and not learned & judged
    assert main(["encode", "own", "--model", "m", "--num-tokens", "2", "--out", "x.safetensors"]) == 0
    (tmp_path / "m").rename(tmp_path / "moved")
    assert len(Pipeline.from_pretrained("moved")("a shade", num_tokens=2)) == 1
    assert main(["generate", "a shade", "--model", "moved", "--num-tokens", "2", "--out", "made"]) == 0
