"""``textok cache`` as it is typed."""

import json
from pathlib import Path

import pytest

from textok.cli import main
from textok.data.latents import LatentCache


@pytest.fixture
def words(model_folder: Path, pictures: Path, tmp_path: Path) -> list[str]:
    command = [
        "cache",
        "--model",
        str(model_folder),
        "--data",
        str(pictures),
        "--out",
        str(tmp_path / "latents"),
    ]
    return [*command, "--text-cache", str(tmp_path / "text"), "--device", "cpu"]


def test_rows_of_every_form(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--caption-forms", "thing,given", "--flip", "--limit", "3"]) == 0
    assert "12 rows of 3 pictures" in capsys.readouterr().out
    batch = LatentCache.open(tmp_path / "latents").batch(range(12))
    assert sorted(set(batch.captions)) == ["", "a green square", "a red square"]
    assert [len(text) > 0 for text in batch.text] == [caption != "" for caption in batch.captions]
    assert main([*words, "--caption-forms", "thing,given", "--flip", "--limit", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 12
    assert main([*words, "--caption-forms", "given"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "captions was ['thing', 'given'], is ['given']" in error and "limit was 3, is None" in error


def test_mistakes(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--caption-forms", "long"]) == 2
    assert "captions: got long; expected some of given, scene" in capsys.readouterr().err


def test_an_interrupt_is_no_success(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textok.cli.cache.cache_latents", lambda *args, **kwargs: None)
    assert main(words) == 130
