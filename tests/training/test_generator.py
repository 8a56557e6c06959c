"""Generator training: it learns, resumes in the same bits, and never needs the tokenizer for a step."""

import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from textok.data.latents import LatentCache
from textok.models.bottleneck import FSQConfig, KLConfig
from textok.models.conditions import ConditionConfig
from textok.models.dit import DiT, DiTConfig
from textok.models.generators import load_generator
from textok.models.maskgit import MaskGIT, MaskGITConfig
from textok.pipeline.generation import Pipeline
from textok.training.generator.config import GeneratorRun
from textok.training.generator.train import train_generator

pytestmark = pytest.mark.timeout(300)  # the fixtures train
SHAPE = {"dim": 32, "depth": 1, "num_heads": 2}


@pytest.fixture(scope="module")
def discrete(tmp_path_factory: pytest.TempPathFactory, make_latents: Callable[..., Path]) -> Path:
    return make_latents(tmp_path_factory.mktemp("fsq"), FSQConfig(levels=(8, 5, 5, 5)))


@pytest.fixture
def run(generator_run: GeneratorRun) -> GeneratorRun:
    return generator_run


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "rows_per_second"} for line in lines]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_generator(folder / "weights").state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_a_stopped_run_ends_in_the_same_bits(run: GeneratorRun, tmp_path: Path) -> None:
    train_generator(run, tmp_path / "whole")
    for stop in (5, 8, None):
        train_generator(run, tmp_path / "parts", stop_at=stop)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


@pytest.mark.slow
def test_a_muon_run_resumes_too(run: GeneratorRun, tmp_path: Path) -> None:
    run = replace(run, optimizer=replace(run.optimizer, kind="muon"))
    train_generator(run, tmp_path / "whole")
    for stop in (7, None):
        train_generator(run, tmp_path / "parts", stop_at=stop)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


@pytest.mark.slow
def test_it_learns_the_latents(run: GeneratorRun, tmp_path: Path) -> None:
    run = replace(run, steps=60, preview=replace(run.preview, every=60), ema_decay=0.9, checkpoint_every=60)
    train_generator(run, tmp_path)
    losses = [line["loss"] for line in metrics(tmp_path) if "loss" in line]
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])


def test_the_model_fits_the_cache(run: GeneratorRun, tmp_path: Path) -> None:
    model = load_generator(train_generator(replace(run, steps=2), tmp_path))
    manifest = LatentCache.open(run.latents).manifest
    assert isinstance(model, DiT)
    assert (model.config.num_latents, model.config.latent_dim) == (4, 4)
    assert model.config.tokenizer == manifest.tokenizer
    assert model.config.condition.text_encoder == manifest.text_encoder
    assert model.made_by["sampling"] == {"steps": run.preview.steps, "guidance": run.preview.guidance}


def test_a_step_needs_neither_tokenizer_nor_text_encoder(
    run: GeneratorRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **named: Any) -> None:
        raise AssertionError("was called")

    monkeypatch.setattr("textok.models.tokenizer.TexTok.__init__", fail)
    monkeypatch.setattr("textok.models.text_encoder.TextEncoder.from_pretrained", fail)
    train_generator(replace(run, steps=3), tmp_path)


@pytest.mark.slow
def test_maskgit_trains_on_codes(run: GeneratorRun, discrete: Path, tmp_path: Path) -> None:
    run = replace(
        run, model=MaskGITConfig(**SHAPE, factors=2), latents=str(discrete),
        preview=replace(run.preview, held_out=str(discrete)),
    )  # fmt: skip
    train_generator(run, tmp_path / "whole")
    for stop in (5, None):
        train_generator(run, tmp_path / "parts", stop_at=stop)
    model = load_generator(tmp_path / "whole" / "weights")
    assert isinstance(model, MaskGIT)
    assert model.config.num_codes == 1000
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


@pytest.fixture(scope="module")
def labelled(
    tmp_path_factory: pytest.TempPathFactory,
    icons: Path,
    make_latents: Callable[..., Path],
    write_tar: Callable[..., Path],
) -> Path:
    """Latents of sixteen of the pictures, of three classes."""
    folder = tmp_path_factory.mktemp("classes")
    with tarfile.open(icons / "train-000000.tar") as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar.getmembers()[:32]}
    for place, name in enumerate(name for name in list(members) if name.endswith(".json")):
        members[name] = json.dumps(json.loads(members[name]) | {"label": place % 3}).encode()
    (folder / "pictures").mkdir()
    write_tar(folder / "pictures" / "train-000000.tar", members)
    return make_latents(folder, KLConfig(latent_dim=4), source=folder / "pictures")


def test_a_class_generator_comes_with_captions_of_its_classes(
    run: GeneratorRun, labelled: Path, tmp_path: Path
) -> None:
    model = DiTConfig(**SHAPE, condition=ConditionConfig(kind="class"))
    preview = replace(run.preview, held_out=None, tokenizer=None, every=2, steps=1)
    run = replace(run, model=model, latents=str(labelled), preview=preview, steps=2)
    weights_folder = train_generator(run, tmp_path)
    pipeline = Pipeline.from_pretrained(weights_folder)
    assert pipeline.generator.config.condition.num_classes == 3
    known = LatentCache.open(labelled).batch(range(16))
    assert known.labels is not None
    expected = {c for c, label in zip(known.captions, known.labels.tolist(), strict=True) if label == 1}
    assert set(pipeline.class_captions[1]) == expected
    assert (tmp_path / "grids" / "step-00000002.png").is_file()


def test_a_cache_without_text_trains_classes_only(
    run: GeneratorRun, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = LatentCache.open(labelled)
    bare = replace(plain.manifest, settings={**plain.manifest.settings, "text": False})
    shards = [replace(shard, tensors=shard.tensors | no_text(shard.tensors)) for shard in plain._shards]
    monkeypatch.setattr(LatentCache, "open", lambda _: LatentCache(bare, shards))
    preview = replace(run.preview, held_out=None)
    with pytest.raises(ValueError, match="cached without text"):
        train_generator(replace(run, latents=str(labelled), preview=preview), tmp_path / "text")
    model = DiTConfig(**SHAPE, condition=ConditionConfig(kind="class"))
    train_generator(replace(run, model=model, latents=str(labelled), preview=preview, steps=2), tmp_path)


def no_text(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"text": tensors["text"][:0], "text_ends": torch.zeros_like(tensors["text_ends"])}


def test_held_out_losses_are_logged_by_budget(run: GeneratorRun, tmp_path: Path) -> None:
    train_generator(run, tmp_path)
    lines = [line for line in metrics(tmp_path) if "val/loss_k2" in line]
    assert [line["step"] for line in lines] == [6, 12]
    assert all(line["val/loss_k4"] > 0 for line in lines)


def test_a_grid_is_drawn(run: GeneratorRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preview = replace(run.preview, tokenizer=None, prompts=("a cat",), steps=1, every=2, held_out=None)
    train_generator(replace(run, steps=2, preview=preview), tmp_path)
    assert [path.name for path in (tmp_path / "grids").iterdir()] == ["step-00000002.png"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": MaskGITConfig(**SHAPE)}, "continuous latents of a kl tokenizer; train a DiT"),
        (
            {"model": DiTConfig(**SHAPE, condition=ConditionConfig(kind="class", num_classes=2))},
            "have no classes",
        ),
        ({"sharded": True}, "sharded: got one rank"),
        ({"batch_size": 64}, "expected at least batch_size 64"),
    ],
)
def test_what_does_not_fit_is_refused(
    run: GeneratorRun, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        train_generator(replace(run, **change), tmp_path)


def test_another_run_is_not_resumed(run: GeneratorRun, tmp_path: Path) -> None:
    train_generator(run, tmp_path, stop_at=2)
    with pytest.raises(ValueError, match="condition_dropout"):
        train_generator(replace(run, condition_dropout=0.5), tmp_path)


def test_too_many_bad_steps_stop_the_run(
    run: GeneratorRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "textok.training.generator.train.loss_of", lambda network, part, run: network(
            part.tokens, torch.zeros(len(part.tokens)), part.condition, lengths=part.lengths
        ).sum() * torch.nan
    )  # fmt: skip
    with pytest.raises(FloatingPointError, match="max_skipped_steps"):
        train_generator(replace(run, max_skipped_steps=2), tmp_path)
    assert len((tmp_path / "skipped.jsonl").read_text().splitlines()) == 3


def test_held_out_rows_must_have_what_the_model_reads(run: GeneratorRun, tmp_path: Path) -> None:
    shutil.copytree(Path(run.latents), tmp_path / "bare")
    manifest = json.loads((tmp_path / "bare" / "manifest.json").read_text())
    manifest["settings"]["text"] = False
    (tmp_path / "bare" / "manifest.json").write_text(json.dumps(manifest))
    run = replace(run, preview=replace(run.preview, held_out=str(tmp_path / "bare")))
    with pytest.raises(ValueError, match=r"preview.held_out:"):
        train_generator(run, tmp_path / "run")
