"""A flow decoder goes through the whole loop: it resumes bit for bit, and captions are dropped on each side apart."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from textok.data import TrainLoader
from textok.models.decoder import FlowDecoderConfig
from textok.models.tokenizer import TexTok
from textok.objectives.adversarial import AdversarialConfig
from textok.objectives.reconstruction import FlowLossConfig
from textok.pipeline.text import CachedText
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.step import micro_batches
from textok.training.tokenizer.train import train_tokenizer


@pytest.fixture
def flow(tiny: TokenizerRun) -> TokenizerRun:
    decoder = FlowDecoderConfig(patch_channels=16, steps=2)
    loss = replace(tiny.loss, flow=FlowLossConfig(perceptual=0.0))
    return replace(
        tiny,
        model=replace(tiny.model, decoder=decoder, text_pool=2),
        loss=loss,
        decoder_caption_dropout=0.5,
        log_every=1,
    )


@pytest.mark.slow
def test_a_flow_run_resumes_bit_for_bit(flow: TokenizerRun, tmp_path: Path, read_metrics: Callable) -> None:
    train_tokenizer(flow, tmp_path / "whole", stop_at=4)
    for stop in (2, 4):
        train_tokenizer(flow, tmp_path / "parts", stop_at=stop)
    one, other = (TexTok.from_pretrained(tmp_path / name / "weights") for name in ("whole", "parts"))
    assert one.config.decoder == flow.model.decoder
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())
    assert {"loss/pixels", "loss/flow", "loss/bottleneck"} <= read_metrics(tmp_path / "whole")[-1].keys()


def test_captions_are_dropped_on_each_side_apart(flow: TokenizerRun, text_cache: Path) -> None:
    batch = next(TrainLoader(flow.data, batch_size=16))
    text = CachedText(flow.model, folder=str(text_cache))
    run = replace(flow, micro_batch=16, caption_dropout=0.5)
    (part,) = micro_batches(batch, run, text, step=0, rank=0, device=torch.device("cpu"))
    encoder, decoder = (side.mask.any(dim=1) for side in (part.text, part.decoder_text))
    assert 0 < int(encoder.sum()) < 16 and 0 < int(decoder.sum()) < 16
    assert not torch.equal(encoder, decoder)


def test_what_does_not_belong_together_is_named(flow: TokenizerRun, tiny: TokenizerRun) -> None:
    with pytest.raises(ValueError, match=r"loss.flow: got None"):
        replace(flow, loss=tiny.loss)
    with pytest.raises(ValueError, match=r"loss.flow: got FlowLossConfig"):
        replace(tiny, loss=flow.loss)
    with pytest.raises(ValueError, match="adversarial: got"):
        replace(flow, adversarial=AdversarialConfig())
    with pytest.raises(ValueError, match="decoder_caption_dropout: got"):
        replace(flow, decoder_caption_dropout=1.5)
