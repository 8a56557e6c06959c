"""``textok evaluate generator``: a row for every budget and guidance scale, recorded with what made it."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from textok.cli import main
from textok.models.conditions import ConditionConfig
from textok.models.dit import DiT, DiTConfig
from textok.models.tokenizer import TexTok

VAL = Path(__file__).parents[2] / "datasets/icons-128/val-000000.tar"


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator for the shipped tokenizer that draws noise."""
    return made_generator(tmp_path_factory.mktemp("generator"), num_latents=32)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of 8 tokens at most."""
    return made_generator(tmp_path_factory.mktemp("small"), num_latents=8)


def made_generator(folder: Path, *, num_latents: int) -> Path:
    """Write an untrained generator."""
    torch.manual_seed(0)
    tokenizer = TexTok.from_pretrained("icons-128")
    config = DiTConfig(
        dim=32,
        depth=1,
        num_heads=2,
        num_latents=num_latents,
        condition=ConditionConfig(),
        tokenizer=tokenizer.model_id,
        tokenizer_source="icons-128",
    )
    model = DiT(config)
    for parameter in model.parameters():  # an untrained one says 0 whatever it is asked
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder, name="tiny")
    return folder


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory, write_tar: Callable[..., Path]) -> Path:
    """Splits held of 36 drawings, known of 4 others."""
    folder = tmp_path_factory.mktemp("drawings")
    with tarfile.open(VAL) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar.getmembers()[:80]}
    names = list(members)
    write_tar(folder / "held-000000.tar", {name: members[name] for name in names[:72]})
    write_tar(folder / "known-000000.tar", {name: members[name] for name in names[72:]})
    return folder


@pytest.mark.slow
def test_a_row_for_every_cell(
    generator: Path, drawings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "generator", "--model", str(generator), "--data", str(drawings), "--split", "held"]
    words += ["--train", str(drawings), "--train-split", "known", "--steps", "2", "--budgets", "2,4"]
    words += ["--limit", "20"]
    assert main([*words, "--guidance", "1,2", "--out", str(tmp_path / "scores.json")]) == 0
    assert "guidance" in capsys.readouterr().out
    found = json.loads((tmp_path / "scores.json").read_text())
    cells = [(row["budget"], row["guidance"]) for row in found["rows"]]
    assert cells == [(2, 1.0), (2, 2.0), (4, 1.0), (4, 2.0)]
    scores = {(row["budget"], row["guidance"]): row["fd_effnet_lite2"] for row in found["rows"]}
    assert len(set(scores.values())) == len(found["rows"]), "budget and guidance reach the generator"
    for row in found["rows"]:
        assert row["fd_effnet_lite2_beside_floor"] > row["fd_effnet_lite2_floor"] > 0
        assert {
            "kd_effnet_lite2",
            "precision_effnet_lite2",
            "recall_effnet_lite2",
            "alignment_two_tower",
        } <= set(row)
        assert row["count_train"] > 0
    settings = found["settings"]
    assert settings["sampling"]["steps"] == 2
    assert settings["budgets"] == [2, 4] and settings["guidance"] == [1.0, 2.0]
    assert settings["reference"]["count"] == 36 and settings["train"]["count"] == 4
    assert settings["reference"]["split"] == "held" and settings["train"]["split"] == "known"
    assert settings["reference"]["fingerprint"] != settings["train"]["fingerprint"]
    assert found["settings"]["tokenizer"] == TexTok.from_pretrained("icons-128").model_id


@pytest.mark.slow
def test_the_usual_budgets_fit_the_generator(
    small: Path, drawings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "evaluate",
        "generator",
        "--model",
        str(small),
        "--data",
        str(drawings),
        "--split",
        "held",
        "--limit",
        "16",
    ]
    assert main([*words, "--guidance", "1", "--steps", "1", "--json"]) == 0
    assert [row["budget"] for row in json.loads(capsys.readouterr().out)] == [2, 4, 8]


def test_pictures_without_captions_are_no_prompts(
    generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bare").mkdir()
    Image.new("RGB", (128, 128)).save(tmp_path / "bare" / "one.png")
    assert main(["evaluate", "generator", "--model", str(generator), "--data", str(tmp_path / "bare")]) == 2
    assert "expected captions to draw" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--guidance", "x"], "--guidance"),
        (["--guidance", "-1"], "guidance: got -1"),
        (["--budgets", "a"], "--budgets"),
        (["--limit", "1"], "limit: got 1"),
    ],
)
def test_wrong_options_are_named(
    generator: Path, drawings: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "generator", "--model", str(generator), "--data", str(drawings), *words]) == 2
    assert told in capsys.readouterr().err
