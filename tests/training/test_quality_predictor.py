"""Training of the quality predictor: what it measures, that it learns, that it repeats; the command."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from textok.budgets.predictor import (
    NUM_DETAILS,
    QualityPredictor,
    QualityPredictorConfig,
    picture_detail,
)
from textok.cli import main
from textok.data import BadSampleError
from textok.models.bottleneck import KLConfig
from textok.models.text import TextCondition
from textok.objectives.quality import psnr_per_image
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.training import quality_predictor
from textok.training.quality_predictor import (
    MeasuredPictures,
    PredictorRun,
    correct,
    draw_budgets,
    fit,
    measure_pictures,
    score,
    train_predictor,
)
from tiny import tiny_model

CONFIG = QualityPredictorConfig(
    tokenizer="some-model", measure="psnr", num_latents=16, latent_dim=4, dropout=0.0
)
RUN = PredictorRun(steps=200, batch_size=32, num_probes=4)


def invented(count: int, *, seed: int = 0) -> MeasuredPictures:
    """Quality rises with log k, and falls with the picture's detail and with the size of its latents."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, 16, 4, generator=generator) * torch.rand(count, 1, 1, generator=generator)
    detail = torch.randn(count, NUM_DETAILS, generator=generator)
    budgets = draw_budgets(count, num_probes=4, num_latents=16, generator=generator)
    level = 20 - 3 * detail[:, :1] - 2 * latents.square().mean(dim=(1, 2), keepdim=True)[..., 0]
    return MeasuredPictures(
        latents=latents, detail=detail, budgets=budgets, quality=level + 2 * budgets.float().log2()
    )


@pytest.fixture
def tokenizer() -> ImageTokenizer:
    return ImageTokenizer(
        tiny_model(KLConfig(latent_dim=8), num_latents=8, placement="none"), dtype="float32"
    )


def test_a_head_tells_pictures_it_has_not_seen() -> None:
    head = fit(RUN, invented(600), config=CONFIG)
    found = score(head, invented(200, seed=1))
    assert found["pictures"] == 200 and found["explained"] > 0.9 and found["rmse"] < 1.0
    nothing = score(QualityPredictor(CONFIG).eval(), invented(200, seed=1))
    assert nothing["rmse"] > 15


def test_pictures_that_the_tokenizer_does_not_know_correct_the_head() -> None:
    """Held-out pictures are worse, the more so the more tokens; afterwards they are told without bias."""
    unseen = [invented(300, seed=seed) for seed in (1, 2)]
    worse = [replace(data, quality=data.quality - 0.3 * data.budgets.float().log2()) for data in unseen]
    head = fit(RUN, invented(600), config=CONFIG)
    before = score(head, worse[1])
    correct(head, worse[0])
    after = score(head, worse[1])
    assert before["bias"] == pytest.approx(0.85, abs=0.15) and abs(after["bias"]) < 0.1
    assert after["rmse"] < before["rmse"]
    drop = head.correction[0] - head.correction[-1]
    assert float(drop) == pytest.approx(0.3 * 4, abs=0.3)  # from 1 to 16 tokens
    assert float(head.correction.abs().max()) < 2


def test_neighbouring_budgets_are_in_order() -> None:
    data = invented(400)
    noisy = replace(
        data, quality=data.quality + torch.randn(400, 4, generator=torch.Generator().manual_seed(5))
    )
    curves = fit(RUN, noisy, config=CONFIG)(data.latents[:50], data.detail[:50])
    assert float((curves.diff(dim=1) > 0).double().mean()) > 0.95


def test_the_seed_decides_and_nothing_else() -> None:
    data, run = invented(64), replace(RUN, steps=3)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = fit(run, data, config=CONFIG)
    assert torch.equal(torch.get_rng_state(), state)
    second, other = fit(run, data, config=CONFIG), fit(replace(run, seed=1), data, config=CONFIG)
    assert torch.equal(first.mix.weight, second.mix.weight)
    assert not torch.equal(first.mix.weight, other.mix.weight)


@pytest.mark.parametrize(("num_probes", "longest"), [(4, 16), (3, 10), (8, 8), (1, 5)])
def test_a_budget_is_drawn_from_each_part(num_probes: int, longest: int) -> None:
    budgets = draw_budgets(
        500, num_probes=num_probes, num_latents=longest, generator=torch.Generator().manual_seed(0)
    )
    assert sorted(set(budgets.flatten().tolist())) == list(range(1, longest + 1))
    assert bool((budgets.diff(dim=1) >= 0).all()) and budgets.shape == (500, num_probes)
    with pytest.raises(ValueError, match="num_probes:"):
        draw_budgets(1, num_probes=longest + 1, num_latents=longest, generator=torch.Generator())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scored": "val"}, "scored: got 'val', which corrects"),
        ({"scored": "train"}, "scored: got 'train', which the head is trained on"),
        ({"held_out": "train"}, "held_out: got 'train', which the head is trained on"),
        ({"steps": 0}, "steps: got 0"),
        ({"limit": 1}, "limit: got 1"),
        ({"lr": 0.0}, "lr: got"),
    ],
)
def test_impossible_runs_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(RUN, **changes)
    with pytest.raises(ValueError, match="got 1 pictures"):
        fit(RUN, invented(1), config=CONFIG)


def test_what_is_measured_is_what_decoding_gives(icons: Path, tokenizer: ImageTokenizer) -> None:
    run = replace(RUN, data=str(icons), num_probes=3, limit=10)
    loader = run.open("val", side=32)
    found = measure_pictures(run, tokenizer, loader, name="val")
    assert len(found) == 10 and found.budgets.shape == (10, 3)
    batch = next(iter(loader))
    tokens = tokenizer.encode(batch.images)
    torch.testing.assert_close(found.latents, tokens.values)
    for look in range(3):
        made = tokenizer.decode(tokens.cut(found.budgets[:, look].tolist()), output="uint8")
        torch.testing.assert_close(
            found.quality[:, look].double(), psnr_per_image(batch.images, made), atol=0.02, rtol=0
        )
    assert torch.equal(found.detail, picture_detail(batch.images / 127.5 - 1))


def test_a_head_is_trained_and_written(icons: Path, tokenizer: ImageTokenizer, tmp_path: Path) -> None:
    run = replace(RUN, data=str(icons), scored="test", num_probes=3, steps=3, limit=12)
    scores = train_predictor(run, tmp_path / "a", tokenizer=tokenizer)
    head = QualityPredictor.from_pretrained(tmp_path / "a")
    head.check(tokenizer_id=tokenizer.model_id, measure="psnr")
    assert head.made_by["scores"] == scores and head.made_by["pictures"] == 12 == scores["pictures"]
    assert head.model_id.startswith("quality-predictor-")
    assert bool(head.correction.abs().max() > 0) and scores["uncorrected"]["bias"] != scores["bias"]
    alone = replace(run, scored=None, held_out=None)
    assert train_predictor(alone, tmp_path / "b", tokenizer=tokenizer) == {}
    assert not QualityPredictor.from_pretrained(tmp_path / "b").correction.any()


def test_bad_pictures_stop_a_head_or_are_left_out(
    icons: Path, tokenizer: ImageTokenizer, tmp_path: Path
) -> None:
    run = replace(RUN, data=str(icons), split="torn", held_out=None, scored=None, num_probes=2, steps=2)
    with pytest.raises(BadSampleError, match="bad"):
        train_predictor(run, tmp_path, tokenizer=tokenizer)
    train_predictor(replace(run, on_bad="skip"), tmp_path, tokenizer=tokenizer)
    assert QualityPredictor.from_pretrained(tmp_path).made_by["pictures"] == 48
    assert json.loads((tmp_path / "bad.jsonl").read_text())["key"] == "bad"


def test_the_command(
    icons: Path,
    tokenizer: ImageTokenizer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tokenizer.model.save_pretrained(tmp_path / "model")
    words = ["train", "predictor", "--model", str(tmp_path / "model"), "--data", str(icons)]
    words += [
        "--scored",
        "test",
        "--limit",
        "8",
        "--num_probes",
        "2",
        "--steps",
        "2",
        "--out",
        str(tmp_path / "head"),
    ]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 8
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "quality predictor" in told and "before correction" in told
    assert main([*words, "--split", "exam"]) == 2
    assert "exam" in capsys.readouterr().err


@pytest.mark.parametrize("bar", ["shown", "hidden"])
def test_text_is_read_where_the_tokenizer_reads_it(
    bar: str, icons: Path, tokenizer: ImageTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The captions of the pictures reach encoder and decoder, and no more pictures without a progress bar."""
    monkeypatch.setenv("TQDM_DISABLE", str(int(bar == "hidden")))
    seen: list[list[str]] = []

    def text_of(_self: ImageTokenizer, captions: list[str]) -> TextCondition | None:
        seen.append(captions)
        return None

    monkeypatch.setattr(ImageTokenizer, "text_of", text_of)
    run = replace(RUN, data=str(icons), num_probes=1, limit=16)
    measure_pictures(run, tokenizer, run.open("val", side=32), name="val")
    assert [len(captions) for captions in seen] == [16] and all(caption for c in seen for caption in c)
    assert quality_predictor.NAME == "quality-predictor"
