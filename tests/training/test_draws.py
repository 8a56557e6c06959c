"""What a step draws: in range, the promised shares, and nothing but seed, step and stream decide."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textok.sampling.random import seeded
from textok.training.run import BudgetDraw, drop_rows, swap_rows

KINDS = ("uniform", "log_uniform", "powers")


def drawn(draw: BudgetDraw, *, most: int, batch: int = 4096, seed: int = 0) -> torch.Tensor:
    lengths = draw.lengths(batch, most=most, generator=torch.Generator().manual_seed(seed))
    assert lengths is not None
    return lengths


@given(
    kind=st.sampled_from(KINDS),
    most=st.integers(2, 300),
    share=st.floats(0, 1),
    per_sample=st.booleans(),
    batch=st.integers(1, 40),
    seed=st.integers(0, 2**31),
)
def test_lengths_stay_in_range(
    kind: str, most: int, share: float, per_sample: bool, batch: int, seed: int
) -> None:
    draw = BudgetDraw(kind=kind, full_share=share, per_sample=per_sample)
    lengths = drawn(draw, most=most, batch=batch, seed=seed)
    assert lengths.shape == (batch,) and lengths.dtype == torch.long
    assert int(lengths.min()) >= 1 and int(lengths.max()) <= most
    assert per_sample or len(lengths.unique()) == 1
    assert torch.equal(lengths, drawn(draw, most=most, batch=batch, seed=seed))


@pytest.mark.parametrize("kind", KINDS)
def test_the_full_share_keeps_all(kind: str) -> None:
    assert (drawn(BudgetDraw(kind=kind, full_share=1.0), most=32) == 32).all()
    without = (drawn(BudgetDraw(kind=kind, full_share=0.0), most=32) == 32).float().mean()
    half = (drawn(BudgetDraw(kind=kind, full_share=0.5), most=32) == 32).float().mean()
    assert float(half) == pytest.approx(0.5 + 0.5 * float(without), abs=0.03)


@pytest.mark.parametrize("kind", [*KINDS, "fixed"])
def test_the_empty_share_keeps_none_and_leaves_the_others_as_they_are(kind: str) -> None:
    lengths = drawn(BudgetDraw(kind=kind, empty_share=0.2), most=32)
    empty = lengths == 0
    assert float(empty.float().mean()) == pytest.approx(0.2, abs=0.03)
    others = BudgetDraw(kind=kind).lengths(4096, most=32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(lengths[~empty], torch.full((4096,), 32)[~empty] if others is None else others[~empty])


def test_each_kind_has_its_distribution() -> None:
    uniform = drawn(BudgetDraw(kind="uniform", full_share=0.0), most=8, batch=16_000)
    assert torch.bincount(uniform)[1:].tolist() == pytest.approx([2000] * 8, rel=0.15)
    powers = drawn(BudgetDraw(kind="powers", full_share=0.0), most=12, batch=16_000)
    assert powers.unique().tolist() == [1, 2, 4, 8]
    assert torch.bincount(powers)[[1, 2, 4, 8]].tolist() == pytest.approx([4000] * 4, rel=0.1)
    # 2^u is at most m with probability log2(m) / log2(K): every doubling is as likely
    logs = drawn(BudgetDraw(kind="log_uniform", full_share=0.0), most=32, batch=16_000)
    below = [(logs <= m).float().mean().item() for m in (1, 3, 7, 15)]
    expected = [torch.log2(torch.tensor(m + 0.5)).item() / 5 for m in (1, 3, 7, 15)]
    assert below == pytest.approx(expected, abs=0.02)


def test_a_fixed_length_is_that_of_every_row() -> None:
    random = torch.Generator().manual_seed(0)
    draw = BudgetDraw(kind="fixed", length=8)
    assert draw.lengths(3, most=32, generator=random).tolist() == [8, 8, 8]
    assert draw.lengths(2, most=4, generator=random).tolist() == [4, 4]
    for length, kind in ((0, "fixed"), (8, "uniform")):
        with pytest.raises(ValueError, match=r"budgets\.length"):
            BudgetDraw(kind=kind, length=length)


def test_fixed_budgets_draw_nothing() -> None:
    random = torch.Generator().manual_seed(0)
    before = random.get_state()
    assert BudgetDraw(kind="fixed").lengths(4, most=32, generator=random) is None
    assert BudgetDraw().lengths(4, most=1, generator=random) is None
    assert torch.equal(random.get_state(), before)


def test_step_seed_and_stream_decide() -> None:
    def number(seed: int, step: int, stream: str) -> float:
        return torch.rand((), generator=seeded(seed, step, stream)).item()

    numbers = [
        number(*key) for key in ((0, 0, "rank 0"), (1, 0, "rank 0"), (0, 1, "rank 0"), (0, 0, "rank 1"))
    ]
    assert len(set(numbers)) == 4
    assert number(0, 1, "rank 0") == numbers[2]


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_captions_are_dropped_by_their_share(share: float) -> None:
    rows = drop_rows(8000, share, generator=torch.Generator().manual_seed(0))
    assert rows.float().mean().item() == pytest.approx(share, abs=0.015)


def test_a_bad_share_is_named() -> None:
    with pytest.raises(ValueError, match=r"budgets\.full_share:"):
        BudgetDraw(full_share=1.5)


def test_some_captions_are_swapped_for_the_next_rows() -> None:
    captions = [f"caption {i}" for i in range(1000)]
    generator = torch.Generator().manual_seed(0)
    swapped = swap_rows(captions, 0.2, generator=generator)
    wrong = [i for i in range(1000) if swapped[i] != captions[i]]
    assert 150 < len(wrong) < 250
    assert all(swapped[i] == captions[(i + 1) % 1000] for i in wrong)
    state = generator.get_state()
    assert swap_rows(captions, 0.0, generator=generator) == captions
    assert torch.equal(generator.get_state(), state), "nothing is drawn when nothing is swapped"
