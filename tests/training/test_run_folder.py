"""The folder of a run: what it tells, whom it refuses, and what a finished run leaves in it."""

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from textok.data import EvalLoader
from textok.models.bottleneck import AEConfig
from textok.models.config_json import encode_config
from textok.models.decoder import FlowDecoderConfig
from textok.models.tokenizer import TexTok
from textok.pipeline.text import CachedText
from textok.pixels import to_unit
from textok.training import run_folder
from textok.training.run_folder import RunFolder, environment, load_snapshot, save_snapshot, snapshots
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.setup import start_from
from textok.training.tokenizer.train import train_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # the fixtures train


@pytest.fixture(scope="module")
def short(tiny: TokenizerRun) -> TokenizerRun:
    return replace(tiny, steps=4, validation=replace(tiny.validation, every=2, budgets=(4,)))


@pytest.fixture(scope="module")
def finished(short: TokenizerRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to its end, with two evaluations."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("finished")
    assert train_tokenizer(short, out) == out / "weights"
    return out


# --- what it tells --------------------------------------------------------------------------------------


def test_run_json_says_what_made_the_run(finished: Path, short: TokenizerRun) -> None:
    told = json.loads((finished / "run.json").read_text())
    assert told["config"] == json.loads(json.dumps(encode_config(short)))
    text = CachedText(short.model, folder=None).fingerprint
    facts = {"data": short.data.open().fingerprint, "samples": 48, "ranks": 1, "text_encoder": text}
    assert told["facts"] == facts
    made_by = told["environment"]
    assert made_by["libraries"]["torch"] == torch.__version__ and made_by["code"]
    assert made_by["machine"]["threads"] == 1 and made_by["machine"]["cpu"]


def test_the_record_names_the_build_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata of PyPI's wheel say 2.13.0 where torch itself says 2.13.0+cu130."""
    monkeypatch.setattr("torch.__version__", "2.13.0+cu130")
    assert environment()["libraries"]["torch"] == "2.13.0+cu130"


def test_scores_and_pictures_of_every_evaluation(finished: Path, read_metrics: Callable) -> None:
    scored = [line for line in read_metrics(finished) if any(key.startswith("val/") for key in line)]
    assert [line["step"] for line in scored] == [2, 4]
    wanted = {f"val/{c}/4/psnr" for c in ("right", "none", "wrong")}
    assert wanted <= scored[0].keys() and all(0 < scored[1][key] < 60 for key in wanted)
    grids = sorted((finished / "grids").iterdir())
    assert [grid.name for grid in grids] == ["step-00000002.png", "step-00000004.png"]
    with Image.open(grids[0]) as grid:
        assert min(grid.size) > 2 * 32


def test_events_are_written_out(finished: Path, read_metrics: Callable) -> None:
    events = EventAccumulator(str(finished / "tensorboard")).Reload()
    (at_three,) = [line for line in read_metrics(finished) if line["step"] == 3]
    (scalar,) = events.Scalars("loss/pixels")
    assert scalar.step == 3 and scalar.value == pytest.approx(at_three["loss/pixels"])
    assert [scalar.step for scalar in events.Scalars("val/right/4/psnr")] == [2, 4]


@pytest.mark.parametrize("which", ["weights", "best"])
def test_the_weights_work(which: str, finished: Path, short: TokenizerRun, text_cache: Path) -> None:
    model = TexTok.from_pretrained(finished / which)
    assert model.config == short.model and model.model_id.startswith("tiny-")
    batch = next(iter(EvalLoader(short.data, batch_size=48)))
    text = CachedText(short.model, folder=str(text_cache))(batch.captions)
    with torch.no_grad():
        encoding = model.encode(to_unit(batch.images), text)
        made = model.decode(encoding.latents, text)
    assert made.shape == batch.images.shape and made.isfinite().all()
    latents = encoding.latents.flatten(0, 1)
    torch.testing.assert_close(latents.mean(0), torch.zeros(8), atol=0.01, rtol=0)
    torch.testing.assert_close(latents.std(0), torch.ones(8), atol=0.01, rtol=0)


def test_the_weights_say_what_made_them(finished: Path, short: TokenizerRun) -> None:
    made_by = TexTok.from_pretrained(finished / "weights").made_by
    assert made_by["step"] == 4 and made_by["run"]["name"] == "tiny"
    best = TexTok.from_pretrained(finished / "best").made_by
    assert best["step"] in (2, 4) and best[short.validation.best_by] > 0


def test_a_finished_run_stays_as_it_is(finished: Path, short: TokenizerRun, read_metrics: Callable) -> None:
    before, weights = read_metrics(finished), (finished / "weights/model.safetensors").read_bytes()
    train_tokenizer(short, finished)
    assert read_metrics(finished) == before
    assert (finished / "weights/model.safetensors").read_bytes() == weights


def test_a_run_starts_from_trained_weights(
    finished: Path, short: TokenizerRun, tmp_path: Path, read_checkpoint: Callable
) -> None:
    trained = TexTok.from_pretrained(finished / "weights")
    slow = replace(short.optimizer, lr=1e-12)
    run = replace(short, name="next", init_from=str(finished / "weights"), optimizer=slow)
    train_tokenizer(run, tmp_path / "run", stop_at=1)
    tensors, _ = read_checkpoint(tmp_path / "run", 1)
    for name, value in trained.named_parameters():
        torch.testing.assert_close(tensors[f"state/model/{name}"], value, atol=1e-6, rtol=1e-5)
    assert torch.equal(tensors["state/model/latent_std"], torch.ones(8))
    other = replace(run, model=replace(run.model, mlp_ratio=2.0))
    with pytest.raises(ValueError, match=r"init_from:"):
        train_tokenizer(other, tmp_path / "other")


@pytest.mark.slow
def test_a_first_stage_sees_small_pictures(
    tiny: TokenizerRun, tmp_path: Path, read_checkpoint: Callable
) -> None:
    small = replace(tiny, name="small", data=replace(tiny.data, size=(16, 16)), steps=2)
    train_tokenizer(small, tmp_path / "small")
    run = replace(tiny, init_from=str(tmp_path / "small" / "weights"))
    train_tokenizer(run, tmp_path / "run", stop_at=1)
    first = TexTok.from_pretrained(tmp_path / "small" / "weights")
    pictures = torch.rand(2, 3, 16, 16) * 2 - 1
    assert first.decode(first.encode(pictures).latents, grid=(2, 2)).shape == pictures.shape
    assert first.config == run.model and read_checkpoint(tmp_path / "run", 1)
    for size in ((64, 64), (16, 20)):
        with pytest.raises(ValueError, match=r"data\.size: got .*, expected model\.image_size"):
            replace(tiny, data=replace(tiny.data, size=size))


def test_another_decoder_starts_as_the_trained_one(
    finished: Path, short: TokenizerRun, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = TexTok.from_pretrained(finished / "weights").eval()
    changes = {"decoder": FlowDecoderConfig(steps=0), "max_text_tokens": trained.config.max_text_tokens + 8}
    model = TexTok(replace(trained.config, **changes)).eval()
    start_from(model, str(finished / "weights"))
    assert "start at random" in capsys.readouterr().err
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    pictures = [one.decode(one.encode(images).latents) for one in (trained, model)]
    torch.testing.assert_close(pictures[0], pictures[1])


def test_pooled_captions_keep_the_caption_tokens(finished: Path, tmp_path: Path) -> None:
    trained = TexTok.from_pretrained(finished / "weights")
    model = TexTok(replace(trained.config, text_pool=4, text_bias=None, bottleneck=AEConfig(latent_dim=3)))
    start_from(model, str(finished / "weights"))
    weights = trained.encoder.text.project.weight
    assert torch.equal(model.encoder.text.tokens.project.weight, weights)
    model.save_pretrained(tmp_path, name="pooled", made_by={})
    again = TexTok(replace(trained.config, text_path="keys", bottleneck=AEConfig(latent_dim=3)))
    start_from(again, str(tmp_path))
    assert torch.equal(again.encoder.text.project.weight, weights)


def test_the_start_stays_the_best_when_tuning_makes_it_worse(
    finished: Path, short: TokenizerRun, tmp_path: Path, read_metrics: Callable
) -> None:
    start = TexTok.from_pretrained(finished / "weights")
    wild = replace(short.optimizer, lr=3.0, warmup_steps=0)
    judge = replace(short.validation, best_by="psnr")
    run = replace(short, name="wild", init_from=str(finished / "weights"), optimizer=wild, validation=judge)
    for stop_at in (0, 0, None):  # the second as after a kill before the first checkpoint
        train_tokenizer(run, tmp_path, stop_at=stop_at)
    best = TexTok.from_pretrained(tmp_path / "best")
    assert best.made_by["step"] == 0 and [line["step"] for line in read_metrics(tmp_path)].count(0) == 1
    for name, value in start.named_parameters():
        torch.testing.assert_close(best.get_parameter(name), value, atol=1e-2, rtol=1e-2)


def test_the_end_of_the_hours_leaves_weights(short: TokenizerRun, tmp_path: Path) -> None:
    weights = train_tokenizer(short, tmp_path, hours=1e-9)
    assert TexTok.from_pretrained(weights).made_by["step"] == 0
    assert TexTok.from_pretrained(train_tokenizer(short, tmp_path)).made_by["step"] == short.steps


# --- whom it refuses ------------------------------------------------------------------------------------


def test_another_run_is_refused_by_key(finished: Path, short: TokenizerRun, icons: Path) -> None:
    with pytest.raises(ValueError, match=r"seed was 0, is 1"):
        train_tokenizer(replace(short, seed=1), finished)
    with pytest.raises(ValueError, match=r"model\.dim.*32.*64"):
        train_tokenizer(replace(short, model=replace(short.model, dim=64)), finished)


def test_other_data_is_refused(short: TokenizerRun, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.start(short, facts={"data": "one", "samples": 48, "ranks": 1})
    folder.start(short, facts={"data": "one", "samples": 48, "ranks": 1})
    with pytest.raises(ValueError, match=r"data.*one.*two"):
        folder.start(short, facts={"data": "two", "samples": 48, "ranks": 1})


def test_what_changes_no_weight_may_differ(short: TokenizerRun, tmp_path: Path) -> None:
    folder, facts = RunFolder(tmp_path), {"data": "one", "samples": 48, "ranks": 1}
    folder.start(short, facts=facts)
    told = (tmp_path / "run.json").read_text()
    data = replace(short.data, source="/elsewhere", workers=2, keep_decoded_mb=0)
    moved = replace(short, data=data, text_cache="/there", log_every=7, checkpoint_every=9)
    folder.start(moved, facts=facts)
    assert (tmp_path / "run.json").read_text() == told
    with pytest.raises(ValueError, match=r"data.*one.*two"):
        folder.start(moved, facts=facts | {"data": "two"})
    with pytest.raises(ValueError, match=r"cannot resume:"):
        folder.start(replace(moved, data=replace(data, flip=True)), facts=facts)


def test_a_foreign_folder_is_refused(short: TokenizerRun, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="not empty"):
        RunFolder(tmp_path).start(short, facts={})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_start_that_was_killed_is_no_obstacle(short: TokenizerRun, tmp_path: Path) -> None:
    (tmp_path / ".run.json.tmp").write_text("{")
    RunFolder(tmp_path).start(short, facts={})
    assert json.loads((tmp_path / "run.json").read_text())["facts"] == {}


def test_ranks_must_share_a_batch(
    tiny: TokenizerRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textok.training.parallel.Accelerator", lambda **_: _ThreeRanks())
    with pytest.raises(ValueError, match="batch_size:"):
        train_tokenizer(tiny, tmp_path)


class _ThreeRanks:
    process_index, num_processes, device = 0, 3, torch.device("cpu")


# --- logs and checkpoints -------------------------------------------------------------------------------


def test_lines_past_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step in (1, 2, 3):
        folder.append("metrics.jsonl", {"step": step})
    folder.append("bad.jsonl", {"key": "torn"})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    folder.forget_after(2)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'
    assert (tmp_path / "bad.jsonl").read_text() == '{"key": "torn"}\n'


def test_a_checkpoint_that_cannot_be_written_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: object, path: Path) -> None:
        path.touch()
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(run_folder, "save_file", full)
    with pytest.raises(OSError, match="step-00000004") as error:
        save_snapshot(tmp_path, step=4, state={"a": torch.zeros(1)})
    assert error.value.errno == errno.ENOSPC and not list(tmp_path.iterdir())


def test_snapshots_hold_nested_state(tmp_path: Path) -> None:
    state = {"a": [1, 2.5, None, "x", True], "b": {3: (torch.arange(3), -1e-300)}, "c": {}, "d": []}
    loaded = load_snapshot(save_snapshot(tmp_path, step=1, state=state))
    assert torch.equal(loaded["b"][3][0], torch.arange(3)) and loaded["b"][3][1] == -1e-300
    assert {k: v for k, v in loaded.items() if k != "b"} == {k: v for k, v in state.items() if k != "b"}
    with pytest.raises(TypeError, match="state/a is a set"):
        save_snapshot(tmp_path, step=2, state={"a": set()})
    for step in (3, 4, 5):
        save_snapshot(tmp_path, step=step, state=state)
    assert [path.name for path in snapshots(tmp_path)] == ["step-00000004", "step-00000005"]


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("/home/me/.venv/bin/textok", "textok train"),
        ("/home/me/textok/cli/__main__.py", "textok train"),
        ("benchmarks/gelu.py", "benchmarks/gelu.py train"),
    ],
)
def test_the_command_is_recorded_without_where_it_is_installed(
    program: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [program, "train"])
    assert environment()["command"] == told


def test_a_record_of_another_version_may_lack_settings_or_have_others(
    short: TokenizerRun, tmp_path: Path
) -> None:
    folder, facts = RunFolder(tmp_path), {"data": "one", "samples": 48, "ranks": 1}
    folder.start(short, facts=facts)
    record = json.loads((tmp_path / "run.json").read_text())
    del record["config"]["model"]["text_dtype"]
    record["config"]["text_dtype"] = "float32"
    (tmp_path / "run.json").write_text(json.dumps(record))
    folder.start(short, facts=facts)
    with pytest.raises(ValueError, match=r"mix.*other"):
        folder.start(short, facts=facts | {"mix": "other"})
