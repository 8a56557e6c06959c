"""Training of the two-tower head: it learns, it repeats, it refuses what cannot work."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from research import alignment
from research.alignment import (
    AlignmentData,
    AlignmentRun,
    contrastive_loss,
    fit,
    read_features,
    retrieval_rows,
)
from research.command import run
from textok.evaluation.alignment import TwoTower, TwoTowerConfig
from textok.evaluation.networks import EffNetLite2
from textok.pipeline.text import CachedText
from tiny import write_pictures

RUN = AlignmentRun(
    sizes=(64, 32),
    steps=150,
    batch_size=64,
    lr=3e-3,
    warmup=5,
    model=TwoTowerConfig(image_dim=10, text_dim=8, hidden=32, dim=16, dropout=0.0),
)


def invented(count: int, *, seed: int = 0) -> AlignmentData:
    """Pictures and captions that are two views of the same hidden things; twins share a caption."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, 6, generator=generator)
    hidden[1] = hidden[0]
    views = torch.Generator().manual_seed(99)  # the same views whatever is hidden
    to_image, to_caption = torch.randn(6, 10, generator=views), torch.randn(6, 8, generator=views)
    noise = 0.1 * torch.randn(2, count, 10, generator=generator)
    texts = [f"thing {max(i, 1)}" for i in range(count)]
    return AlignmentData(images=hidden @ to_image + noise, captions=hidden @ to_caption, texts=texts)


def test_the_loss_is_the_mean_of_both_directions() -> None:
    images, captions = (normalize(torch.randn(4, 3), dim=1) for _ in range(2))
    scale = torch.tensor(5.0)
    scores = 5 * torch.cosine_similarity(images[:, None], captions[None], dim=2)
    own = torch.arange(4)
    expected = (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2
    torch.testing.assert_close(contrastive_loss(images, captions, scale=scale), expected)
    perfect = contrastive_loss(torch.eye(4), torch.eye(4), scale=torch.tensor(100.0))
    assert perfect < 1e-6


def test_a_trained_head_finds_captions_it_has_not_seen() -> None:
    seen, unseen = invented(512), invented(40, seed=1)
    before = retrieval_rows(TwoTower(RUN.model).eval(), unseen, split="new", run=RUN)
    after = retrieval_rows(fit(RUN, seen), unseen, split="new", run=RUN)
    assert [(row["size"], row["captions"]) for row in after] == [(64, 39), (32, 39)]
    for untrained, trained in zip(before, after, strict=True):
        assert untrained["r1"] < 0.3 < 0.6 < trained["r1"] <= trained["r5"]


def test_the_seed_decides_and_nothing_else() -> None:
    data, run = invented(64), replace(RUN, steps=4)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = fit(run, data)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second, other = fit(run, data), fit(replace(run, seed=1), data)
    weights = [head.state_dict()["text_tower.1.weight"] for head in (first, second, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps: got 0"),
        ({"batch_size": 1}, "batch_size: got 1"),
        ({"sizes": ()}, "sizes: got ()"),
        ({"sizes": (128, 16)}, "at least 32 pixels"),
        ({"lr": 0.0}, "lr: got 0.0"),
    ],
)
def test_impossible_runs_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(RUN, **changes)


def test_too_few_pictures_are_told() -> None:
    with pytest.raises(ValueError, match="batch_size:"):
        fit(RUN, invented(5))


def command(words: list[str]) -> int:
    return run(alignment.alignment, words, prog="research.alignment")


# --- the command ----------------------------------------------------------------------------------------


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command line on six pictures, with invented caption states."""
    folder = write_pictures(tmp_path / "pictures" / "train", [f"colour {i}" for i in range(6)])

    def states(captions: list[str]) -> list[torch.Tensor]:
        return [torch.full((2, 384), float(len(caption) + ord(caption[-1]))) for caption in captions]

    monkeypatch.setattr(CachedText, "_encoder", lambda text: states)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return ["--data", str(folder.parent), "--batch-size", "4", "--steps", "2"]


def test_the_command_writes_a_head_and_tells_its_scores(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        assert command([*words, "--scored", "train", "--out", str(tmp_path / name), "--json"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first == second
    assert [(row["split"], row["size"], row["captions"]) for row in first] == [
        ("train", 128, 6),
        ("train", 64, 6),
    ]
    head = TwoTower.from_pretrained(tmp_path / "a")
    assert head.model_id == TwoTower.from_pretrained(tmp_path / "b").model_id
    assert head.made_by["scores"] == first and head.made_by["pictures"] == 6
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["config.json", "model.safetensors"]


def test_a_split_that_is_not_there_is_told_before_any_work(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alignment, "EffNetLite2", lambda: pytest.fail("pictures were read"))
    assert command([*words, "--scored", "exam", "--out", str(tmp_path / "a")]) == 2
    assert "exam" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_picture_without_a_caption_is_told(words: list[str], tmp_path: Path) -> None:
    settings = AlignmentRun(data=words[1], sizes=(32,))
    metadata = tmp_path / "pictures" / "train" / "metadata.jsonl"
    metadata.write_text(metadata.read_text().replace("colour 3", " "))
    with pytest.raises(ValueError, match="caption"):
        read_features(
            alignment._loaders(settings, "train"),
            network=EffNetLite2(),
            text=alignment._text(settings),
            name="train",
        )
