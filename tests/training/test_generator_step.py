"""What one step of a generator reads: every row its own condition, some dropped, cut into parts."""

import pytest
import torch

from textok.data.latents import LatentBatch
from textok.models.conditions import NO_CLASS, ConditionConfig
from textok.models.dit import DiTConfig
from textok.training.generator.config import GeneratorRun
from textok.training.generator.step import micro_rows
from textok.training.run import BudgetDraw

ROWS, DIM = 400, 6


def batch() -> LatentBatch:
    """Row i holds i everywhere: in its latents, its label, and its 1 to 5 token states."""
    numbers = torch.arange(ROWS)
    return LatentBatch(
        keys=[str(i) for i in range(ROWS)],
        captions=[str(i) for i in range(ROWS)],
        text=[torch.full((1 + i % 5, DIM), float(i)) for i in range(ROWS)],
        latents=numbers.float()[:, None, None].expand(ROWS, 4, 2).clone(),
        labels=numbers,
    )


def made(kind: str, dropout: float, micro: int = 64) -> list[tuple[int, int | None]]:
    """(row, condition) pairs as the network gets them; None for a dropped condition."""
    condition = ConditionConfig(kind=kind, num_classes=ROWS if kind == "class" else 0, text_dim=DIM)
    run = GeneratorRun(
        name="t", model=DiTConfig(dim=16, depth=1, num_heads=2, condition=condition), latents="unused",
        condition_dropout=dropout, batch_size=ROWS, micro_batch=micro, budgets=BudgetDraw(kind="fixed"),
    )  # fmt: skip
    pairs: list[tuple[int, int | None]] = []
    parts = list(micro_rows(batch(), 0, run=run, rank=0, device=torch.device("cpu")))
    assert sum(part.share for part in parts) == pytest.approx(1) and [p.last for p in parts][-1]
    assert sum(part.last for part in parts) == 1
    for part in parts:
        for i, tokens in enumerate(part.tokens):
            row = int(tokens[0, 0])
            if part.condition.labels is not None:
                label = int(part.condition.labels[i])
                pairs.append((row, None if label == NO_CLASS else label))
                continue
            text = part.condition.text
            assert text is not None
            states = text.embeddings[i][text.mask[i]]
            assert len(states) in (0, 1 + row % 5)
            pairs.append((row, int(states[0, 0]) if len(states) else None))
    return pairs


@pytest.mark.parametrize("kind", ["text", "class"])
@pytest.mark.parametrize("micro", [64, ROWS])
def test_every_row_keeps_its_condition(kind: str, micro: int) -> None:
    pairs = made(kind, dropout=0.0, micro=micro)
    assert sorted(row for row, _ in pairs) == list(range(ROWS))
    assert all(row == condition for row, condition in pairs)


@pytest.mark.parametrize("kind", ["text", "class"])
def test_conditions_are_dropped(kind: str) -> None:
    assert all(condition is None for _, condition in made(kind, dropout=1.0))
    some = made(kind, dropout=0.1)
    dropped = sum(condition is None for _, condition in some)
    assert 20 <= dropped <= 60, "40 are expected"
    assert all(condition in (None, row) for row, condition in some)
