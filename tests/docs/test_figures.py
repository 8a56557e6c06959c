"""The figures of a decoder that generates, from tiny random weights."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from textok.models.decoder import FlowDecoderConfig
from textok.pipeline.image_tokenizer import ImageTokenizer
from tiny import tiny_model

FIGURES = Path(__file__).parents[2] / "docs/figures.py"


def test_a_flow_decoder_has_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_model(decoder=FlowDecoderConfig(), std=0.2).save_pretrained(tmp_path / "model", name="tiny")
    words = ["--model", tmp_path / "model", "--only", "flow", "seeds", "--out", tmp_path / "drawn"]
    monkeypatch.setattr(sys, "argv", ["figures.py", *map(str, words)])
    script = runpy.run_path(str(FIGURES), run_name="__main__")
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {"flow.png", "seeds.png"}
    with Image.open(tmp_path / "drawn/flow.png") as picture:
        assert picture.width > script["FLOW_STEPS"] * 128

    monkeypatch.setitem(script["flow_grid"].__globals__, "sample_grid", lambda cells, **_: cells)
    tokenizer = ImageTokenizer.from_pretrained(tmp_path / "model", dtype="float32")
    picture = torch.zeros(3, 32, 32, dtype=torch.uint8)
    seen, expected = script["flow_grid"](tokenizer, picture, "a cat")
    tokens = tokenizer.encode([picture], "a cat", num_tokens=script["FLOW_TOKENS"])
    decoded = tokenizer.decode(tokens, output="uint8", steps=len(seen), guidance=1.0, start=1.0)
    assert torch.equal(expected[-1], decoded[0]) and not torch.equal(seen[0], seen[-1])


def test_a_direct_decoder_has_none_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_model().save_pretrained(tmp_path / "model", name="tiny")
    words = [
        "figures.py",
        "--model",
        str(tmp_path / "model"),
        "--only",
        "flow",
        "--out",
        str(tmp_path / "drawn"),
    ]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match="--only"):
        runpy.run_path(str(FIGURES), run_name="__main__")
