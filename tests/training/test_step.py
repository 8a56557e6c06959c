"""One step: what is drawn, and that micro-batches change neither."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from textok.data import TrainLoader
from textok.data.samples import Batch
from textok.models.bottleneck import AEConfig
from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok
from textok.objectives.reconstruction import LossConfig, ReconstructionObjective
from textok.pipeline.text import CachedText
from textok.training.run import BudgetDraw
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.step import MicroBatch, micro_batches, total

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def batch(tiny: TokenizerRun) -> Batch:
    return next(TrainLoader(tiny.data, batch_size=16))


@pytest.fixture(scope="module")
def text(tiny: TokenizerRun, text_cache: Path) -> CachedText:
    return CachedText(tiny.model, folder=str(text_cache))


def parts_of(
    batch: Batch, run: TokenizerRun, text: CachedText | None, *, step: int = 0, rank: int = 0
) -> list[MicroBatch]:
    return list(micro_batches(batch, run, text, step=step, rank=rank, device=CPU))


def gradients(run: TokenizerRun, batch: Batch, text: CachedText) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model, objective = TexTok(run.model).train(), ReconstructionObjective(run.loss)
    for part in parts_of(batch, run, text):
        made = model(part.images, part.text, lengths=part.lengths, generator=part.noise)
        (total(objective(made, part.images)) * part.share).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def test_micro_batches_give_the_gradient_of_the_batch(
    tiny: TokenizerRun, batch: Batch, text: CachedText
) -> None:
    run = replace(
        tiny,
        model=replace(tiny.model, bottleneck=AEConfig()),
        loss=LossConfig(l2=1.0, l1=0.5, perceptual=0.1),
        micro_batch=16,
    )
    whole = gradients(run, batch, text)
    for size in (4, 5):  # 5 leaves a rest of 1
        torch.testing.assert_close(
            gradients(replace(run, micro_batch=size), batch, text), whole, rtol=1e-4, atol=1e-6
        )


def test_micro_batches_are_the_batch(tiny: TokenizerRun, batch: Batch, text: CachedText) -> None:
    parts = parts_of(batch, replace(tiny, micro_batch=6), text)
    assert [len(part.images) for part in parts] == [6, 6, 4] and [p.last for p in parts] == [
        False,
        False,
        True,
    ]
    assert sum(part.share for part in parts) == pytest.approx(1)
    (whole,) = parts_of(batch, replace(tiny, micro_batch=16), text)
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert torch.equal(torch.cat([part.lengths for part in parts]), whole.lengths)
    assert float(whole.images.min()) >= -1 and float(whole.images.max()) <= 1
    widths = [part.text.mask.shape[1] for part in parts]
    assert widths == sorted(widths) and widths[0] < widths[-1]  # short captions carry no padding


def test_every_picture_keeps_its_caption(tiny: TokenizerRun, batch: Batch, text: CachedText) -> None:
    (part,) = parts_of(batch, replace(tiny, micro_batch=16, caption_dropout=0.0), text)
    images = (part.images + 1) * 127.5
    for image, states, mask in zip(images, part.text.embeddings, part.text.mask, strict=True):
        (row,) = [i for i, other in enumerate(batch.images) if torch.allclose(image, other.float(), atol=0.1)]
        (expected,) = text.cache.get([batch.captions[row]])
        assert torch.equal(states[mask], expected.float())


def test_captions_are_dropped(tiny: TokenizerRun, batch: Batch, text: CachedText) -> None:
    def with_caption(dropout: float) -> int:
        run = replace(tiny, micro_batch=16, caption_dropout=dropout)
        condition: TextCondition = parts_of(batch, run, text)[0].text
        return int(condition.mask.any(dim=1).sum())

    assert with_caption(0.0) == 16 and with_caption(1.0) == 0 and 0 < with_caption(0.5) < 16


def test_words_come_first(tiny: TokenizerRun, batch: Batch, text: CachedText) -> None:
    run = replace(tiny, micro_batch=16, steps=10, words_first=0.25, budgets=BudgetDraw(kind="uniform"))
    kept = [parts_of(batch, run, text, step=step)[0].lengths.tolist() for step in range(4)]
    assert [max(lengths) for lengths in kept[:3]] == [0, 0, 0] and min(kept[3]) > 0
    later = parts_of(batch, replace(run, words_first=0.0), text, step=3)[0]
    assert later.lengths.tolist() == kept[3]


def test_steps_and_ranks_draw_differently(tiny: TokenizerRun, batch: Batch, text: CachedText) -> None:
    run = replace(tiny, micro_batch=16, model=replace(tiny.model, num_latents=64), caption_dropout=0.5)

    def draws(step: int, rank: int) -> tuple[tuple[int, ...], float]:
        (part,) = parts_of(batch, run, text, step=step, rank=rank)
        return tuple(part.lengths.tolist()), torch.randn((), generator=part.noise).item()

    found = [draws(0, 0), draws(1, 0), draws(0, 1)]
    assert len({lengths for lengths, _ in found}) == 3 and len({noise for _, noise in found}) == 3
    assert draws(0, 1) == found[2]


def test_no_text_without_placement(tiny: TokenizerRun, batch: Batch) -> None:
    assert all(part.text is None for part in parts_of(batch, tiny, None))
