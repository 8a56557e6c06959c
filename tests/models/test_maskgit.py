"""MaskGIT: shapes, digits, masks, budgets, what it hears, and that it learns."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from textok.models.conditions import Condition, ConditionConfig
from textok.models.generators import load_generator
from textok.models.layers import checkpoint_activations
from textok.models.maskgit import CodeEmbedding, MaskGIT, MaskGITConfig
from textok.models.text import TextCondition
from textok.sampling.flow import Guidance
from textok.sampling.masked import decode_masked, digits_of, mask_codes, masked_loss

SMALL = {"dim": 32, "depth": 2, "num_heads": 2, "num_latents": 8, "num_codes": 60, "factors": 2}
TEXT = ConditionConfig(text_dim=16, max_text_tokens=6)
CLASS = ConditionConfig(kind="class", num_classes=5)
MASK = SMALL["num_codes"]


def small(condition: ConditionConfig, **changes: object) -> MaskGIT:
    torch.manual_seed(0)
    return MaskGIT(MaskGITConfig(**{**SMALL, "condition": condition, **changes})).eval()


def captions(*lengths: int) -> Condition:
    torch.manual_seed(1)
    return Condition(text=TextCondition.pad([torch.randn(n, 16) for n in lengths]))


def some_codes(rows: int, budget: int = 8) -> Tensor:
    """Codes with masked ones among them."""
    codes = torch.randint(0, MASK, (rows, budget), generator=torch.Generator().manual_seed(2))
    codes[:, ::2] = MASK
    return codes


@pytest.fixture(scope="module")
def by_text() -> MaskGIT:
    return small(TEXT)


@pytest.fixture(scope="module")
def by_class() -> MaskGIT:
    return small(CLASS)


@pytest.mark.parametrize(
    ("factors", "base", "values"), [(1, None, 60), (2, None, 8), (3, None, 4), (2, 20, 20)]
)
def test_logits_are_one_row_a_digit(factors: int, base: int | None, values: int) -> None:
    model = small(TEXT, factors=factors, base=base)
    for budget in (1, 5, 8):
        made = model(some_codes(2, budget), captions(3, 4))
        assert made.shape == (2, budget, factors, values) and made.dtype == torch.float32


@settings(max_examples=100, deadline=None)
@given(num_codes=st.integers(2, 2**24), factors=st.integers(1, 5))
def test_the_base_is_the_smallest_that_does(num_codes: int, factors: int) -> None:
    base = MaskGITConfig(num_codes=num_codes, factors=factors).digit_values
    assert (base - 1) ** factors < num_codes <= base**factors


@pytest.mark.parametrize(("factors", "base"), [(1, None), (2, None), (3, 5)])
def test_every_code_has_its_own_vector_made_of_the_digits_of_the_loss(factors: int, base: int | None) -> None:
    config = MaskGITConfig(**{**SMALL, "factors": factors, "base": base})
    embed = CodeEmbedding(config)
    codes = torch.arange(MASK + 1)[None]
    vectors = embed(codes)[0].detach()
    assert float(torch.cdist(vectors, vectors).add(torch.eye(MASK + 1) * 9).min()) > 1e-2
    digits = digits_of(codes[0, :-1], base=config.digit_values, factors=factors)
    tables = torch.stack([table.weight for table in embed.digits])  # (f n d)
    by_hand = tables[torch.arange(factors), digits].sum(dim=1)
    assert torch.allclose(vectors[:-1], by_hand, atol=1e-6)
    assert torch.equal(vectors[-1], embed.mask)


def test_padding_of_captions_changes_nothing(by_text: MaskGIT) -> None:
    codes, alone = some_codes(1), captions(3)
    longer = alone.joined(captions(6))[:2]
    beside = by_text(codes.repeat(2, 1), longer)[:1]
    assert torch.allclose(by_text(codes, alone), beside, atol=1e-5)


def test_a_masked_tail_equals_a_cut_one(by_text: MaskGIT) -> None:
    codes, condition, lengths = some_codes(2), captions(2, 5), torch.tensor([3, 8])
    made = by_text(codes, condition, lengths=lengths)
    assert torch.allclose(made[:1, :3], by_text(codes[:1, :3], condition[:1]), atol=1e-5)
    codes[0, 3:] = 7
    assert torch.allclose(by_text(codes, condition, lengths=lengths)[0, :3], made[0, :3], atol=1e-5)


def test_it_sees_all_codes_and_where_they_are(by_class: MaskGIT) -> None:
    condition, codes = Condition(labels=torch.tensor([1])), torch.full((1, 4), MASK)
    base = by_class(codes, condition)
    for position in (0, 3):  # from either side
        known = codes.clone()
        known[0, position] = 5
        moved = (by_class(known, condition) - base).abs().amax(dim=(0, 2, 3))
        assert bool((moved > 1e-4).all())
    assert not torch.allclose(base[0, 0], base[0, 1], atol=1e-3)


def test_it_hears_condition_and_budget(by_class: MaskGIT, by_text: MaskGIT) -> None:
    codes, labels = some_codes(2, 4), Condition(labels=torch.tensor([1, 1]))
    base = by_class(codes, labels)
    assert not torch.allclose(by_class(codes, Condition(labels=torch.tensor([2, 1])))[0], base[0], atol=1e-4)
    longer = torch.cat([codes, codes], dim=1)
    told = by_class(longer, labels, lengths=torch.tensor([4, 8]))
    assert torch.allclose(told[0, :4], base[0], atol=1e-5)
    assert not torch.allclose(told[1, :4], base[1], atol=1e-4)
    same = by_text(codes[:1].repeat(2, 1), captions(3, 3))
    assert not torch.allclose(same[0], same[1], atol=1e-4)


def test_dropped_conditions_are_alike(by_text: MaskGIT) -> None:
    made = by_text(some_codes(1).repeat(2, 1), captions(2, 5).unconditional())
    assert torch.allclose(made[0], made[1], atol=1e-6)


@pytest.mark.parametrize("condition", [TEXT, CLASS])
def test_gradients_reach_every_parameter(condition: ConditionConfig) -> None:
    model = small(condition).train()
    codes = torch.arange(56).view(7, 8)  # every digit
    given = captions(2, 3, 4, 5, 6, 1, 2)
    if condition.kind == "class":
        given = Condition(labels=torch.tensor([0, 1, 2, 3, 4, 0, 0]))
    masked, is_masked = mask_codes(codes, mask_code=MASK, generator=torch.Generator().manual_seed(0))
    dropped = given.dropped(torch.arange(7) == 6)
    masked_loss(model(masked, dropped), codes, is_masked).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert silent == []


def test_checkpointed_activations_give_the_same_gradients() -> None:
    model, codes, condition = small(TEXT).train(), some_codes(2), captions(2, 3)
    found = []
    for enabled in (False, True):
        checkpoint_activations(model, enabled=enabled)
        assert model.transformer.blocks.activation_checkpointing is enabled
        model.zero_grad()
        model(codes, condition).square().sum().backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*found, strict=True))


def test_half_precision_runs(by_text: MaskGIT) -> None:
    codes, condition = some_codes(2), captions(2, 3)
    half = small(TEXT).to(torch.bfloat16)
    made = half(codes, condition.to("cpu", torch.bfloat16), lengths=torch.tensor([8, 4]))
    assert made.dtype == torch.float32
    assert torch.allclose(made[0], by_text(codes[:1], condition[:1])[0], atol=0.1)


@pytest.mark.parametrize(
    ("codes", "named"),
    [
        (torch.zeros(2, 9, dtype=torch.long), "shape"),
        (torch.zeros(2, 0, dtype=torch.long), "shape"),
        (torch.zeros(8, dtype=torch.long), "shape"),
        (torch.full((2, 8), MASK + 1), "values"),
        (torch.full((2, 8), -1), "values"),
    ],
)
def test_other_codes_are_refused(by_class: MaskGIT, codes: Tensor, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        by_class.check(codes)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"dim": 0}, "dim"),
        ({"dim": 33}, "dim"),
        ({"num_codes": 1}, "num_codes"),
        ({"factors": 0}, "factors"),
        ({"base": 7}, "base"),
        ({"base": -9}, "base"),
        ({"mlp_ratio": 0.0}, "mlp_ratio"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict, named: str) -> None:
    with pytest.raises(ValueError, match=f"model.{named}"):
        MaskGITConfig(**{**SMALL, **change})


def test_saved_and_loaded_it_is_the_same(tmp_path) -> None:
    model = small(TEXT, base=9)
    model.save_pretrained(tmp_path, name="small")
    again = load_generator(tmp_path)
    assert isinstance(again, MaskGIT) and again.config == model.config
    assert torch.equal(again(some_codes(2), captions(2, 3)), model(some_codes(2), captions(2, 3)))


def learned(model: MaskGIT, codes: Tensor, condition: Condition, *, steps: int) -> MaskGIT:
    """Trained on these few sequences alone, a fifth of the time without their condition."""
    draws = torch.Generator().manual_seed(3)
    codes, condition = codes.repeat(4, 1), condition.joined(condition).joined(condition.joined(condition))
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=3e-3)
    for _ in range(steps):
        masked, is_masked = mask_codes(codes, mask_code=MASK, generator=draws)
        dropped = condition.dropped(torch.rand(len(codes), generator=draws) < 0.2)
        masked_loss(model(masked, dropped), codes, is_masked).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("kind", ["text", "class"])
@pytest.mark.slow
def test_it_learns_four_sequences_and_decodes_them(kind: str) -> None:
    codes = torch.randint(0, MASK, (4, 8), generator=torch.Generator().manual_seed(4))
    condition = captions(2, 3, 4, 5) if kind == "text" else Condition(labels=torch.tensor([0, 1, 2, 3]))
    model = learned(small(TEXT if kind == "text" else CLASS), codes, condition, steps=150)
    both = condition.joined(condition.unconditional())

    def predict(now: Tensor, progress: float) -> Tensor:
        conditional, unconditional = model(now.repeat(2, 1), both).chunk(2)
        return Guidance(scale=1 + progress).combine(conditional, unconditional)

    with torch.inference_mode():
        made = decode_masked(
            predict, shape=(4, 8), mask_code=MASK, steps=4, temperature=0.3,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
    assert torch.equal(made, codes)
