"""Scores of a finished tokenizer and generator, with models of a few seconds."""

import json
from pathlib import Path

import pytest
import torch

from research.judge.network import Judge
from research.judge.vocabulary import concepts_of
from research.scenes.foreign import ForeignSource
from research.scenes.scoring import seams
from research.scenes.testing import foreign_test
from research.shipped import shipped
from textok.data.scenes.source import SceneOptions, SceneSource
from textok.models.decoder import FlowDecoderConfig
from tiny import tiny_model


def test_seams_are_steps_at_patch_borders() -> None:
    ramp = torch.arange(16, dtype=torch.uint8).expand(2, 3, 16, 16)
    assert seams((ramp + ramp.mT).contiguous(), patch=4) == pytest.approx(1.0)
    blocks = (torch.rand(2, 3, 4, 4) * 200).to(torch.uint8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    blocks = blocks + (torch.arange(16) % 2).to(torch.uint8)  # a step of one inside patches, along x
    assert seams(blocks, patch=4) > 10


def test_foreign_captions_have_a_twin_in_our_grammar() -> None:
    test = foreign_test(side=64, limit=100)
    assert len(test.scenes) == len(test.pictures) == 100
    assert all(
        own != other
        for own, other in zip(test.pictures.captions, test.pictures.variants["dense"], strict=True)
    )
    thing = test.scenes[0].things[-1]
    assert thing.concept.split()[-1] in test.pictures.variants["dense"][0]


@pytest.mark.slow
def test_a_tokenizer_is_scored_on_facts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    decoder = FlowDecoderConfig(steps=1)
    model = tiny_model(image_size=64, decoder=decoder, text_encoder="minilm", text_dim=384)
    model.save_pretrained(tmp_path / "tokenizer")
    drawings = SceneSource("test-drawing", SceneOptions()).drawings
    Judge(concepts_of(drawings)).save(tmp_path / "judge.safetensors")
    shipped(
        str(tmp_path / "tokenizer"),
        judge=tmp_path / "judge.safetensors",
        limit=4,
        budgets=(1,),
        decoder_steps=(0, 1),
        record=tmp_path / "record.json",
    )
    rows = json.loads((tmp_path / "record.json").read_text())["rows"]
    kinds = {(row["split"], row["captions"], row.get("steps")) for row in rows}
    assert {("test-drawing", "originals", None), ("photos", "right", 1), ("foreign", "dense", 0)} <= kinds
    assert ("test-drawing", "one fact changed", 0) in kinds
    assert all(row["seams"] > 0 for row in rows if row["captions"] in ("right", "originals"))


def test_foreign_captions_belong_to_their_scenes():
    foreign = ForeignSource()
    assert len(foreign) == 100
    samples = [foreign.read(index) for index in range(100)]
    assert len({sample.key for sample in samples}) == 100
    assert [sample.captions[0] for sample in samples] == list(foreign.captions())


def test_a_malformed_line_of_the_foreign_captions_is_named(tmp_path):
    (tmp_path / "drawings").symlink_to(Path("datasets/drawings-rgba").resolve())
    with pytest.raises(FileNotFoundError, match="foreign"):
        ForeignSource(str(tmp_path / "drawings"))
    record = json.loads(Path("datasets/scenes-foreign.jsonl").read_text().partition("\n")[0])
    (tmp_path / "scenes-foreign.jsonl").write_text(json.dumps(record) + "\n{}")
    with pytest.raises(ValueError, match="line 2"):
        ForeignSource(str(tmp_path / "drawings"))
    record["facts"]["things"][0]["drawing"] = "noto/none"
    (tmp_path / "scenes-foreign.jsonl").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="drawing"):
        ForeignSource(str(tmp_path / "drawings"))
