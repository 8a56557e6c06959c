"""The toy recipe learns as it did: its first ten losses are kept in golden_losses.json.

A change that is meant to change them writes them anew::

    TEXTOK_WRITE_GOLDEN=1 python -m pytest tests/training/test_golden.py

Say in the commit why they moved. The captions' features are invented, so no text encoder takes part.
"""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from textok.recipes.tokenizers import toy
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.train import train_tokenizer

GOLDEN = Path(__file__).with_name("golden_losses.json")


def test_the_first_losses(tiny: TokenizerRun, tmp_path: Path, read_metrics: Callable) -> None:
    data = replace(toy().data, source=tiny.data.source, split="train")
    run = replace(toy(), data=data, text_cache=tiny.text_cache, precision="float32", log_every=1)
    train_tokenizer(run, tmp_path, stop_at=10)
    losses = [line["loss/pixels"] for line in read_metrics(tmp_path)]
    if os.environ.get("TEXTOK_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps({"toy": [round(loss, 5) for loss in losses]}, indent=1) + "\n")
    assert len(losses) == 10 and losses[-1] < losses[0]
    # Muon multiplies in bfloat16, whose rounding differs between processors.
    assert losses == pytest.approx(json.loads(GOLDEN.read_text())["toy"], rel=1e-3)
