"""Bad training and validation data: told before the first step, or listed in the run folder before the run stops."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from textok.data import BadSampleError, TrainLoader
from textok.evaluation.captioned import CaptionedPictures
from textok.pipeline.text import CachedText
from textok.training.run_folder import RunFolder
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.train import train_tokenizer
from textok.training.tokenizer.validation import Validation, first_batches


def test_bad_samples_are_listed_when_they_stop_the_run(tiny: TokenizerRun, tmp_path: Path) -> None:
    data = replace(tiny.data, split="torn", on_bad="skip", bad_grace=0, max_bad_share=0.001)
    with pytest.raises(BadSampleError, match="over the limit"):
        train_tokenizer(replace(tiny, data=data), tmp_path / "run", stop_at=12)
    listed = [json.loads(line) for line in (tmp_path / "run" / "bad.jsonl").read_text().splitlines()]
    assert [record["key"] for record in listed] == ["bad"]


def test_latent_statistics_do_not_stop_for_bad_samples(tiny: TokenizerRun) -> None:
    data = replace(tiny.data, split="torn", on_bad="skip", bad_grace=0, max_bad_share=0.001)
    loader = TrainLoader(data, batch_size=8)
    batches = first_batches(loader, count=49)
    assert sum(len(batch) for batch in batches) == 49
    assert loader.bad.count == 0, "the run's own count is left alone"


def test_a_frechet_distance_of_few_pictures_is_refused_at_the_start(
    tiny: TokenizerRun, tmp_path: Path
) -> None:
    run = replace(tiny, validation=replace(tiny.validation, best_by="fd_effnet_lite2"))
    with pytest.raises(ValueError, match="best_by:"):
        train_tokenizer(run, tmp_path / "run", stop_at=1)
    assert RunFolder(tmp_path / "run").latest() is None


@pytest.mark.parametrize(("captions", "expected"), [(("a", "b"), 3), (("a", "a"), 2), (("", ""), 2)])
def test_wrong_captions_are_scored_only_where_there_are_some(
    tiny: TokenizerRun, captions: tuple[str, str], expected: int
) -> None:
    pictures = CaptionedPictures(
        split="val", images=torch.zeros(2, 3, 32, 32, dtype=torch.uint8), captions=captions, keys=("x", "y")
    )
    text = CachedText(tiny.model, folder=tiny.text_cache)
    loader = TrainLoader(tiny.data, batch_size=8)
    validation = Validation(tiny, pictures, text, loader=loader, autocast=torch.float32)
    assert len(validation.captions) == expected
