"""DiT: sizes, parity of the block, masks, budgets, and what starts at zero."""

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock

from textok.models.attention import KeyMask
from textok.models.conditions import NO_CLASS, Condition, ConditionConfig
from textok.models.dit import SIZES, DiT, DiTConfig
from textok.models.layers import AdaptiveBlock, checkpoint_activations
from textok.models.text import TextCondition
from textok.models.tokenizer import count_parameters

SMALL = {"dim": 32, "depth": 2, "num_heads": 2, "num_latents": 8, "latent_dim": 3}
TEXT = ConditionConfig(text_dim=16, max_text_tokens=6)
CLASS = ConditionConfig(kind="class", num_classes=5)


def woken(config: DiTConfig) -> DiT:
    """A model whose zero-initialised parts are random."""
    torch.manual_seed(0)
    model = DiT(config).eval()
    for parameter in model.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def captions(*lengths: int) -> Condition:
    torch.manual_seed(1)
    return Condition(text=TextCondition.pad([torch.randn(n, 16) for n in lengths]))


@pytest.fixture
def by_text() -> DiT:
    return woken(DiTConfig(**SMALL, condition=TEXT))


@pytest.fixture
def by_class() -> DiT:
    return woken(DiTConfig(**SMALL, condition=CLASS))


def test_an_untrained_model_predicts_zero() -> None:
    model = DiT(DiTConfig(**SMALL, condition=TEXT))
    made = model(torch.randn(2, 8, 3), torch.rand(2), captions(3, 4))
    assert made.shape == (2, 8, 3)
    assert not bool(made.any())


def test_dit_xl_has_its_published_size() -> None:
    depth, dim, heads = SIZES["XL"]
    condition = ConditionConfig(kind="class", num_classes=1000)
    with torch.device("meta"):
        model = DiT(DiTConfig(dim=dim, depth=depth, num_heads=heads, condition=condition))
    assert count_parameters(model) == pytest.approx(675e6, rel=0.02)


def test_the_block_agrees_with_diffusers() -> None:
    torch.manual_seed(0)
    theirs = BasicTransformerBlock(
        32, 4, 8, activation_fn="gelu-approximate", num_embeds_ada_norm=5, attention_bias=True,
        norm_type="ada_norm_zero", norm_elementwise_affine=False, norm_eps=1e-6,
    ).eval()  # fmt: skip
    ours = AdaptiveBlock(32, 4, mlp_ratio=4.0).eval()
    copied = {
        "attention.q": theirs.attn1.to_q, "attention.k": theirs.attn1.to_k, "attention.v": theirs.attn1.to_v,
        "attention.out": theirs.attn1.to_out[0], "modulation": theirs.norm1.linear,
        "mlp.0": theirs.ff.net[0].proj, "mlp.2": theirs.ff.net[2],
    }  # fmt: skip
    for name, layer in copied.items():
        ours.get_submodule(name).load_state_dict(layer.state_dict())
    x, times, labels = torch.randn(3, 6, 32), torch.tensor([1, 500, 999]), torch.tensor([0, 4, 2])
    state = theirs.norm1.emb(times, labels, hidden_dtype=torch.float32)
    expected = theirs(x, timestep=times, class_labels=labels)
    assert torch.allclose(ours(x, state, KeyMask()), expected, atol=1e-5)


def test_padding_of_captions_changes_nothing(by_text: DiT) -> None:
    x, time = torch.randn(1, 8, 3), torch.tensor([0.4])
    alone = captions(3)
    assert alone.text is not None
    longer = alone.joined(captions(6))[:2]
    beside = by_text(x.repeat(2, 1, 1), time.repeat(2), longer)[:1]
    assert torch.allclose(by_text(x, time, alone), beside, atol=1e-5)


def test_a_masked_tail_equals_a_cut_one(by_text: DiT) -> None:
    x, time, condition = torch.randn(2, 8, 3), torch.rand(2), captions(2, 5)
    lengths = torch.tensor([3, 8])
    made = by_text(x, time, condition, lengths=lengths)
    cut = by_text(x[:1, :3], time[:1], condition[:1])
    assert torch.allclose(made[:1, :3], cut, atol=1e-5)
    x[0, 3:] = 100.0
    assert torch.allclose(by_text(x, time, condition, lengths=lengths)[0, :3], made[0, :3], atol=1e-5)


def test_it_hears_time_condition_and_budget(by_class: DiT) -> None:
    x, time, labels = torch.randn(2, 4, 3), torch.tensor([0.5, 0.5]), Condition(labels=torch.tensor([1, 1]))
    base = by_class(x, time, labels)
    assert not torch.allclose(by_class(x, time + 0.3, labels), base, atol=1e-4)
    assert not torch.allclose(
        by_class(x, time, Condition(labels=torch.tensor([2, 1])))[0], base[0], atol=1e-4
    )
    told = by_class(torch.cat([x, torch.zeros(2, 4, 3)], 1), time, labels, lengths=torch.tensor([4, 8]))
    assert torch.allclose(told[0, :4], base[0], atol=1e-5)
    assert not torch.allclose(told[1, :4], base[1], atol=1e-4)


def test_dropped_conditions_are_alike(by_text: DiT, by_class: DiT) -> None:
    x, time = torch.randn(1, 4, 3).repeat(2, 1, 1), torch.tensor([0.5, 0.5])
    made = by_text(x, time, captions(2, 5).unconditional())
    assert torch.allclose(made[0], made[1], atol=1e-6)
    none = by_class(x, time, Condition(labels=torch.tensor([3, 1])).unconditional())
    direct = by_class(x, time, Condition(labels=torch.tensor([NO_CLASS, NO_CLASS])))
    assert torch.allclose(none, direct)


def test_gradients_reach_every_parameter(by_text: DiT) -> None:
    by_text.train()
    condition = captions(2, 5).dropped(torch.tensor([True, False]))
    by_text(torch.randn(2, 8, 3), torch.rand(2), condition).square().sum().backward()
    silent = [n for n, p in by_text.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert silent == []


def test_checkpointed_activations_give_the_same_gradients(by_text: DiT) -> None:
    x, time, condition = torch.randn(2, 4, 3), torch.rand(2), captions(2, 3)
    found = []
    for enabled in (False, True):
        by_text.train()
        checkpoint_activations(by_text, enabled=enabled)
        by_text.zero_grad()
        by_text(x, time, condition).square().sum().backward()
        found.append([p.grad.clone() for p in by_text.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("shape", [(2, 9, 3), (2, 4, 2), (2, 4), (2, 0, 3)])
def test_other_shapes_are_refused(by_class: DiT, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="latents"):
        by_class.check(torch.zeros(shape))


def test_the_wrong_condition_is_refused(by_text: DiT, by_class: DiT) -> None:
    x, time = torch.zeros(2, 4, 3), torch.zeros(2)
    with pytest.raises(ValueError, match="expected text"):
        by_text(x, time, Condition(labels=torch.tensor([0, 1])))
    with pytest.raises(ValueError, match="expected labels"):
        by_class(x, time, captions(1, 2))
    with pytest.raises(ValueError, match="0 to 4"):
        by_class(x, time, Condition(labels=torch.tensor([0, 5])))
    with pytest.raises(ValueError, match="rows"):
        by_class(x, time, Condition(labels=torch.tensor([0])))


def test_saved_and_loaded_it_is_the_same(by_text: DiT, tmp_path) -> None:
    by_text.save_pretrained(tmp_path, name="small")
    again = DiT.from_pretrained(tmp_path)
    x, time = torch.randn(2, 8, 3), torch.rand(2)
    assert again.config == by_text.config
    assert torch.equal(again(x, time, captions(2, 3)), by_text(x, time, captions(2, 3)))
