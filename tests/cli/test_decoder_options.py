"""Decoders that sample, from the command line: steps and guidance reach them in every command that decodes."""

import json
from pathlib import Path

import pytest

from textok.cli import main
from textok.models.decoder import FlowDecoderConfig
from tiny import tiny_model


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained tokenizer with a flow decoder."""
    folder = tmp_path_factory.mktemp("flow")
    tiny_model(decoder=FlowDecoderConfig(steps=2)).save_pretrained(folder, name="tiny-flow")
    return folder


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.mark.slow
def test_reconstruct_decodes_by_the_given_steps(
    flow: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reconstruct", pictures, "--model", flow, "--budgets", "1", "--json"]
    scores = {}
    for name, more in {"own": (), "one": ("--decoder-steps", 0), "four": ("--decoder-steps", 4)}.items():
        assert run(*words, "--out", tmp_path / name, *more) == 0
        scores[name] = json.loads(capsys.readouterr().out)[0]["psnr"]
    assert len(set(scores.values())) == 3


def test_evaluation_records_how_it_decoded(
    flow: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "reconstruction", "--data", pictures, "--model", flow, "--budgets", "1"]
    words += ["--conditions", "none", "--no-semantics", "--json"]
    assert run(*words, "--decoder-steps", 1, "--out", tmp_path / "result.json") == 0
    capsys.readouterr()
    assert json.loads((tmp_path / "result.json").read_text())["settings"]["decoding"] == {"steps": 1}


def test_decode_takes_the_same_names(flow: Path, pictures: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.safetensors"
    assert run("encode", pictures, "--model", flow, "--out", tokens) == 0
    bytes_of = {}
    for name, more in {"plain": (), "guided": ("--decoder-guidance", 3)}.items():
        assert run("decode", tokens, "--model", flow, "--out", tmp_path / name, *more) == 0
        bytes_of[name] = (tmp_path / name / "square-1.png").read_bytes()
    assert bytes_of["plain"] != bytes_of["guided"]


def test_a_direct_decoder_takes_no_steps(
    model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "reconstruct",
        pictures,
        "--model",
        model_folder,
        "--out",
        tmp_path / "out",
        "--decoder-steps",
        4,
    ]
    assert run(*words) == 2
    assert "steps: got 4" in capsys.readouterr().err
