"""Masked codes: the schedule, the loss, sampling by digits, and what decoding never does."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from textok.sampling.flow import Guidance
from textok.sampling.masked import (
    decode_masked,
    digits_of,
    mask_codes,
    mask_share,
    masked_loss,
    most_confident,
    sample_codes,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def planned_left(length: int, steps: int) -> list[int]:
    """How many codes are masked after each step: the cosine, but at least one less each time."""
    left, found = length, []
    for step in range(1, steps + 1):
        left = max(0, min(left - 1, math.floor(math.cos(math.pi / 2 * step / steps) * length)))
        found.append(left)
    return found


def noisy_predict(shape: tuple[int, int], *, factors: int = 1, base: int = 7, seen: list | None = None):
    """Fresh random logits at every step; notes what it was asked."""
    draws = seeded(5)

    def predict(codes: Tensor, progress: float) -> Tensor:
        if seen is not None:
            seen.append((codes.clone(), progress))
        return torch.randn(*shape, factors, base, generator=draws) * 3

    return predict


def digits_known(codes: Tensor, *, base: int, factors: int, certainty: float = 30.0) -> Tensor:
    """Logits that are all but certain of these codes."""
    digits = digits_of(codes.flatten(), base=base, factors=factors)
    return torch.nn.functional.one_hot(digits, base).float().view(*codes.shape, factors, base) * certainty


# --- schedule and training ------------------------------------------------------------------------------


def test_the_schedule_is_a_falling_cosine() -> None:
    share = mask_share(torch.linspace(0, 1, 101))
    assert float(share[0]) == 1 and float(share[-1]) == 0
    assert bool((share.diff() < 0).all())
    assert float(share[50]) == pytest.approx(math.sqrt(0.5), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
)
def test_masking_touches_only_what_it_says(lengths: list[int], seed: int) -> None:
    codes = torch.randint(0, 50, (len(lengths), 9), generator=seeded(1))
    masked, is_masked = mask_codes(codes, mask_code=50, generator=seeded(seed), lengths=torch.tensor(lengths))
    assert torch.equal(masked == 50, is_masked)
    assert torch.equal(masked[~is_masked], codes[~is_masked])
    for row, length in zip(is_masked, lengths, strict=True):
        assert int(row[:length].sum()) >= 1 and not bool(row[length:].any())


def test_masked_shares_follow_the_schedule() -> None:
    codes = torch.zeros(4000, 64, dtype=torch.int32)
    masked, is_masked = mask_codes(codes, mask_code=9, generator=seeded())
    shares = is_masked.double().mean(dim=1)
    assert masked.dtype == torch.int32
    assert float(shares.mean()) == pytest.approx(2 / math.pi + 0.5 / 64, abs=0.02)  # the cosine, rounded up
    assert float((shares > math.cos(math.pi / 4)).double().mean()) == pytest.approx(0.5, abs=0.03)
    assert float(is_masked.double().mean(dim=0).std()) < 0.02  # no position is preferred


def test_masks_depend_on_their_generator_only() -> None:
    codes = torch.zeros(4, 16, dtype=torch.long)
    made = [mask_codes(codes, mask_code=9, generator=seeded(s))[1] for s in (0, 0, 1)]
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


def test_the_loss_is_that_of_masked_codes_only() -> None:
    codes = torch.tensor([[3, 8, 5]])
    is_masked = torch.tensor([[True, False, True]])
    logits = torch.randn(1, 3, 1, 9, generator=seeded(), requires_grad=True)
    loss = masked_loss(logits, codes, is_masked)
    by_hand = -logits[0, :, 0].log_softmax(-1)[[0, 2], [3, 5]].mean()
    assert torch.allclose(loss, by_hand)
    loss.backward()
    assert logits.grad is not None
    assert bool(logits.grad[is_masked].any()) and not bool(logits.grad[~is_masked].any())


def test_the_loss_of_even_logits_is_the_entropy_of_the_digits() -> None:
    loss = masked_loss(torch.zeros(2, 3, 2, 6), torch.full((2, 3), 30), torch.ones(2, 3, dtype=torch.bool))
    assert float(loss) == pytest.approx(math.log(36), rel=1e-6)


# --- digits ---------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(base=st.integers(2, 40), factors=st.integers(1, 4), data=st.data())
def test_codes_come_back_from_their_digits(base: int, factors: int, data: st.DataObject) -> None:
    num_codes = data.draw(st.integers(2, base**factors))
    some = data.draw(st.lists(st.integers(0, num_codes - 1), min_size=1, max_size=6))
    codes = torch.tensor([[*some, num_codes - 1]])
    logits = digits_known(codes, base=base, factors=factors, certainty=200.0)
    found, log_probability = sample_codes(logits, num_codes=num_codes, temperature=1.0, generator=seeded())
    assert torch.equal(found, codes)
    assert torch.allclose(log_probability, torch.zeros(codes.shape), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(base=st.integers(2, 12), factors=st.integers(1, 3), seed=st.integers(0, 99), data=st.data())
def test_codes_beyond_the_vocabulary_are_never_drawn(
    base: int, factors: int, seed: int, data: st.DataObject
) -> None:
    num_codes = data.draw(st.integers(2, base**factors))
    logits = (
        torch.arange(base).float().expand(3, 50, factors, base) * seed / 20
    )  # the highest are the likeliest
    found, log_probability = sample_codes(
        logits, num_codes=num_codes, temperature=1.0, generator=seeded(seed)
    )
    assert int(found.min()) >= 0 and int(found.max()) < num_codes
    assert bool(log_probability.isfinite().all())


def test_an_impossible_wish_stays_in_the_vocabulary() -> None:
    logits = digits_known(torch.full((2, 3), 63), base=8, factors=2, certainty=1e4)
    found, _ = sample_codes(logits, num_codes=60, temperature=1.0, generator=seeded())
    assert bool((found < 60).all())


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_draws_follow_the_probabilities(temperature: float) -> None:
    scores = torch.tensor([0.0, 1.0, -1.0, 0.5])
    logits = scores.expand(100, 400, 1, 4)
    found, log_probability = sample_codes(logits, num_codes=4, temperature=temperature, generator=seeded())
    shares = torch.bincount(found.flatten(), minlength=4) / found.numel()
    assert torch.allclose(shares, (scores / temperature).softmax(0), atol=0.01)
    assert torch.allclose(log_probability, scores.log_softmax(0)[found])


def test_digits_are_drawn_apart() -> None:
    logits = torch.zeros(50, 200, 2, 4)
    found, _ = sample_codes(logits, num_codes=16, temperature=1.0, generator=seeded())
    shares = torch.bincount(found.flatten(), minlength=16) / found.numel()
    assert torch.allclose(shares, torch.full((16,), 1 / 16), atol=0.01)


# --- decoding -------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 4),
    steps=st.integers(1, 16),
    factors=st.integers(1, 2),
    temperature=st.sampled_from([0.0, 4.5]),
    seed=st.integers(0, 99),
)
def test_decoding_fills_every_position_by_the_schedule(
    rows: int, steps: int, factors: int, temperature: float, seed: int
) -> None:
    shape, base = (rows, 12), 7
    num_codes, seen = (6 if factors == 1 else 40), []
    made = decode_masked(
        noisy_predict(shape, factors=factors, base=base, seen=seen),
        shape=shape, mask_code=num_codes, steps=steps, confidence_temperature=temperature,
        generator=seeded(seed),
    )  # fmt: skip
    asked = [codes for codes, _ in seen]
    assert int(made.min()) >= 0 and int(made.max()) < num_codes
    for before, after in zip(asked, [*asked[1:], made], strict=True):
        fixed = before != num_codes
        assert torch.equal(before[fixed], after[fixed])
    for row in range(rows):
        left = [int((codes[row] == num_codes).sum()) for codes in [*asked, made]]
        assert left == [12, *planned_left(12, min(steps, 12))]


@pytest.mark.parametrize(("steps", "passes"), [(1, 1), (5, 5), (8, 8), (100, 8)])
def test_steps_are_counted_and_end_at_one(steps: int, passes: int) -> None:
    seen, told = [], []
    decode_masked(
        noisy_predict((1, 8), seen=seen), shape=(1, 8), mask_code=7, steps=steps,
        generator=seeded(), on_step=told.append,
    )  # fmt: skip
    assert told == list(range(1, passes + 1))
    assert [progress for _, progress in seen] == [step / passes for step in told]


def test_the_same_generator_gives_the_same_codes() -> None:
    made = [
        decode_masked(noisy_predict((3, 8)), shape=(3, 8), mask_code=7, steps=4, generator=seeded(seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


def test_a_certain_prediction_is_decoded() -> None:
    wanted = torch.randint(0, 1000, (3, 8), generator=seeded(2))
    logits = digits_known(wanted, base=32, factors=2)
    made = decode_masked(
        lambda codes, progress: logits, shape=(3, 8), mask_code=1000, steps=4, generator=seeded()
    )
    assert torch.equal(made, wanted)


def test_without_noise_the_most_confident_come_first() -> None:
    certainty = torch.tensor([1.0, 9.0, 5.0, 7.0, 3.0, 8.0])
    logits = torch.nn.functional.one_hot(torch.zeros(1, 6, dtype=torch.long), 4) * certainty[None, :, None]
    seen: list[Tensor] = []

    def predict(codes: Tensor, progress: float) -> Tensor:
        seen.append(codes[0].clone())
        return logits[:, :, None]

    decode_masked(
        predict, shape=(1, 6), mask_code=4, steps=6, temperature=0.01,
        confidence_temperature=0.0, generator=seeded(),
    )  # fmt: skip
    when = torch.stack(seen).eq(4).sum(dim=0)  # how long each position stayed masked
    assert when.argsort(stable=True).tolist() == [1, 5, 3, 2, 4, 0]


def test_kept_positions_are_masked_ones_of_high_confidence() -> None:
    confidence = torch.tensor([[0.9, 0.1, 0.5, 0.7]])
    is_masked = torch.tensor([[False, True, True, True]])
    kept = most_confident(confidence, is_masked, remaining=torch.tensor([1]))
    assert kept.tolist() == [[False, False, True, True]]


def test_guidance_moves_away_from_the_unconditional() -> None:
    with_text, without = torch.full((1, 1, 1, 2), 3.0), torch.full((1, 1, 1, 2), 1.0)
    assert torch.equal(Guidance(scale=1.0).combine(with_text, without), with_text)
    assert torch.equal(Guidance(scale=0.0).combine(with_text, without), without)
    assert float(Guidance(scale=2.0).combine(with_text, without).max()) == 5.0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"steps": 0}, "steps"),
        ({"temperature": 0.0}, "temperature"),
        ({"confidence_temperature": -1.0}, "confidence_temperature"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict, named: str) -> None:
    values = {"shape": (2, 8), "mask_code": 7, "steps": 4, "generator": seeded()} | change
    with pytest.raises(ValueError, match=named):
        decode_masked(noisy_predict((2, 8)), **values)


@pytest.mark.parametrize("lengths", [[0, 3], [3, 9]])
def test_lengths_out_of_range_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="lengths"):
        mask_codes(
            torch.zeros(2, 8, dtype=torch.long),
            mask_code=7,
            generator=seeded(),
            lengths=torch.tensor(lengths),
        )
