"""Attention against its definition, masks, positions."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from textok.models import attention, layers
from textok.models.attention import KeyMask, attend, attend_by_channel, attend_by_products
from textok.models.layers import Transformer
from textok.models.vit import grid_positions


def qkv_and_bias(*, dtype: torch.dtype = torch.float32) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    qkv = [torch.randn(3, 2, n, 8, generator=generator).to(dtype).requires_grad_() for n in (4, 7, 7)]
    bias = torch.randn(3, 2, 1, 7, generator=generator)
    bias[0, :, :, 5:] = -math.inf  # a row with absent keys
    return qkv, bias


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_every_path_is_softmax_attention(
    dtype: torch.dtype, atol: float, *, biased: bool, training: bool
) -> None:
    qkv, bias = qkv_and_bias(dtype=dtype)
    exact = [x.detach().double() for x in qkv]
    mask = bias.double().expand(-1, -1, 4, -1) if biased else None
    expected = F.scaled_dot_product_attention(*exact, attn_mask=mask)
    with torch.set_grad_enabled(training):
        for path in (attend, attend_by_products, *[attend_by_channel] * biased):
            found = path(*qkv, bias=bias if biased else None)
            assert found.dtype == dtype
            assert_close(found.double(), expected, rtol=0, atol=atol)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_every_path_has_its_gradients(dtype: torch.dtype, atol: float) -> None:
    qkv, bias = qkv_and_bias(dtype=dtype)
    exact = [x.detach().double().requires_grad_() for x in qkv]
    exact_bias = bias.double().requires_grad_()
    mask = exact_bias.expand(-1, -1, 4, -1)
    upstream = torch.randn(3, 2, 4, 8, generator=torch.Generator().manual_seed(1))
    attended = F.scaled_dot_product_attention(*exact, attn_mask=mask)
    expected = torch.autograd.grad(attended, [*exact, exact_bias], upstream.double())
    bias.requires_grad_()
    for path in (attend, attend_by_products, attend_by_channel):
        found = torch.autograd.grad(path(*qkv, bias=bias), [*qkv, bias], upstream.to(dtype))
        for one, other in zip(found, expected, strict=True):
            assert_close(one.double(), other, rtol=0, atol=atol)


@pytest.fixture
def sequence() -> Tensor:
    return torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(3))


def make_transformer(
    text_bias: float | None = 0.7, *, modulated: bool = False, text_as_keys: bool = False
) -> Transformer:
    torch.manual_seed(0)
    kinds = {"modulated": modulated, "text_as_keys": text_as_keys}
    return Transformer(16, 2, depth=3, text_bias=text_bias, **kinds).eval()


@pytest.mark.parametrize("keep", [1, 4, 9])
def test_keeping_the_first_positions_is_slicing(sequence: Tensor, keep: int) -> None:
    transformer = make_transformer()
    valid = torch.ones(2, 9, dtype=torch.bool)
    valid[1, 6:] = False
    keys = KeyMask(mask=valid, num_text=3)
    full = transformer(sequence, keys, keep=9)
    assert_close(transformer(sequence, keys, keep=keep), full[:, :keep], rtol=0, atol=1e-5)


@pytest.mark.parametrize("text_bias", [None, 0.7])
def test_absent_keys_never_count(sequence: Tensor, text_bias: float | None) -> None:
    transformer = make_transformer(text_bias)
    valid = torch.rand(2, 9, generator=torch.Generator().manual_seed(4)) < 0.6
    valid[:, :2] = True
    keys = KeyMask(mask=valid, num_text=3)
    changed = torch.where(valid[..., None], sequence, 100 * sequence + 7)
    found, expected = transformer(changed, keys, keep=9), transformer(sequence, keys, keep=9)
    assert int((~valid).sum()) > 0
    assert_close(found[valid], expected[valid], rtol=0, atol=1e-5)
    assert not torch.allclose(transformer(changed, KeyMask(num_text=3), keep=2), expected[:, :2], atol=1e-3)


def test_absent_keys_get_no_gradient(sequence: Tensor) -> None:
    transformer, valid = make_transformer(), torch.ones(2, 9, dtype=torch.bool)
    valid[0, 4:] = False
    transformer(sequence.requires_grad_(), KeyMask(mask=valid, num_text=2), keep=4).square().sum().backward()
    assert torch.equal(sequence.grad[0, 4:], torch.zeros(5, 16))
    assert bool((sequence.grad[1].abs().amax(-1) > 0).all())


@pytest.mark.parametrize(("keep", "text_as_keys"), [(3, False), (9, False), (3, True), (6, True)])
@pytest.mark.parametrize("front", [0, 5])
def test_modulated_rows_without_padding_are_the_padded_sequence(
    monkeypatch: pytest.MonkeyPatch, keep: int, front: int, text_as_keys: bool
) -> None:
    valid = torch.rand(3, 9, generator=torch.Generator().manual_seed(4)) < 0.6
    valid[:, 0] = True
    values = torch.randn(4, 3, 96, generator=torch.Generator().manual_seed(5))
    upstream = torch.randn(3, keep, 16, generator=torch.Generator().manual_seed(6)) * valid[:, :keep, None]
    results = []
    for packed in (True, False):
        monkeypatch.setattr(layers, "suits_rows", lambda x, packed=packed: packed)
        transformer = make_transformer(text_bias=0.7, modulated=True, text_as_keys=text_as_keys)
        x = values[0].reshape(3, 6, 16)[:, torch.arange(9) % 6].clone().requires_grad_()
        state = values[1].clone().requires_grad_()
        y = transformer(x, KeyMask(mask=valid, num_text=3, front=front), state, keep=keep)
        y.backward(upstream)
        results.append(
            [y * valid[:, :keep, None], x.grad, state.grad, *(p.grad for p in transformer.parameters())]
        )
    assert bool(results[0][2].any()) == bool(front)
    for one, other in zip(*results, strict=True):
        assert_close(one, other, rtol=5e-5, atol=5e-5)


@pytest.mark.parametrize("keep", [3, 9])
@pytest.mark.parametrize("text_bias", [None, 0.7])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 2e-5), (torch.bfloat16, 0.1)])
def test_rows_without_padding_are_the_padded_sequence(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, atol: float, text_bias: float | None, keep: int
) -> None:
    """Values and gradients, with absent places among the kept ones and a row without a caption."""
    valid = torch.rand(3, 9, generator=torch.Generator().manual_seed(4)) < 0.6
    valid[:, 0], valid[2, 6:] = True, False
    values = torch.randn(3, 9, 16, generator=torch.Generator().manual_seed(5))
    upstream = torch.randn(3, keep, 16, generator=torch.Generator().manual_seed(6)) * valid[:, :keep, None]
    results = []
    for packed in (True, False):
        monkeypatch.setattr(layers, "suits_rows", lambda x, packed=packed: packed)
        transformer, x = make_transformer(text_bias).to(dtype), values.to(dtype).requires_grad_()
        y = transformer(x, KeyMask(mask=valid, num_text=3), keep=keep)
        y.backward(upstream.to(dtype))
        results.append([y * valid[:, :keep, None], x.grad, *(p.grad for p in transformer.parameters())])
    for one, other in zip(*results, strict=True):
        assert_close(one, other, rtol=atol, atol=atol)


def test_captions_as_keys_are_read_as_they_came_in(sequence: Tensor) -> None:
    """One block reads them as ever; in later blocks they are what they were, not what a block made of them."""
    valid = torch.ones(2, 9, dtype=torch.bool)
    valid[1, 8:] = False
    keys, body = KeyMask(mask=valid, num_text=3), 6
    plain, fixed = make_transformer(), make_transformer(text_as_keys=True)
    x = sequence
    for block in plain.blocks:
        x = torch.cat([block(x, keys, keep=body), sequence[:, body:]], dim=1)
    assert_close(fixed(sequence, keys, keep=4), plain.norm(x)[:, :4], rtol=0, atol=1e-5)
    assert not torch.allclose(plain(sequence, keys, keep=4), fixed(sequence, keys, keep=4), atol=1e-3)
    assert_close(plain.blocks[:1](sequence, keys, keep=body), x_of(fixed, sequence, keys), rtol=0, atol=1e-5)


def x_of(transformer: Transformer, sequence: Tensor, keys: KeyMask) -> Tensor:
    """What the first block makes of the positions before the caption."""
    seen = []
    hook = transformer.blocks[0].register_forward_hook(lambda _, __, output: seen.append(output))
    transformer.fixed_shapes = True
    transformer(sequence, keys, keep=4)
    hook.remove()
    return seen[0]


def test_the_text_bias_is_added_to_scores_of_caption_keys() -> None:
    valid = torch.tensor([[True, True, True, True, False]])
    bias = KeyMask(mask=valid, num_text=2).bias(torch.full((2,), -3.0), length=5)
    assert bias.shape == (1, 2, 1, 5)
    assert bias[0, 1, 0].tolist() == [0, 0, 0, -3, -math.inf]
    assert KeyMask().bias(torch.zeros(2), length=5) is None


def test_the_residual_stream_follows_autocast(sequence: Tensor) -> None:
    transformer = make_transformer()
    expected = transformer(sequence, KeyMask(num_text=2), keep=9)
    with torch.autocast("cpu", torch.bfloat16):
        found = transformer(sequence, KeyMask(num_text=2), keep=9)
    assert ((found - expected).norm() / expected.norm()).item() < 0.03


@settings(max_examples=30)
@given(rows=st.integers(1, 9), columns=st.integers(1, 9), side=st.sampled_from([4, 8]))
def test_positions_have_unit_scale_and_differ(rows: int, columns: int, side: int) -> None:
    positions = grid_positions((rows, columns), dim=32, trained_side=side)
    assert positions.shape == (rows * columns, 32)
    assert_close(positions.square().mean(1), torch.ones(rows * columns))
    apart = torch.cdist(positions, positions) + 10 * torch.eye(rows * columns)
    assert float(apart.min()) > 0.05


def test_positions_span_the_same_plane_at_every_resolution() -> None:
    """Twice the patches a side are half the step: the mean of 2 x 2 fine places is the coarse place."""
    coarse = angle_of(grid_positions((4, 4), dim=32, trained_side=4)).reshape(4, 4, -1)
    fine = angle_of(grid_positions((8, 8), dim=32, trained_side=4)).reshape(4, 2, 4, 2, -1)
    assert_close(fine.mean((1, 3)), coarse, rtol=0, atol=1e-4)


def angle_of(positions: Tensor) -> Tensor:
    """Angles of the slowest vertical and horizontal waves, which wrap nowhere on the picture."""
    sines_y, cosines_y, sines_x, cosines_x = positions.chunk(4, dim=1)
    return torch.stack(
        [torch.atan2(sines_y[:, -1], cosines_y[:, -1]), torch.atan2(sines_x[:, -1], cosines_x[:, -1])], dim=1
    )


def test_the_step_is_one_patch_on_the_trained_grid() -> None:
    """The fastest wave has a period of two patches, so a step of one turns its sign."""
    positions = grid_positions((6, 6), dim=32, trained_side=6).reshape(6, 6, 4, 8)
    fastest_y, fastest_x = positions[..., :2, 0], positions[..., 2:, 0]
    assert_close(fastest_y[1:], -fastest_y[:-1], rtol=0, atol=1e-4)
    assert_close(fastest_y[:, 1:], fastest_y[:, :-1], rtol=0, atol=1e-6)  # rows move y alone
    assert_close(fastest_x[:, 1:], -fastest_x[:, :-1], rtol=0, atol=1e-4)


def test_long_sequences_take_the_fused_kernel_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def products(q: Tensor, k: Tensor, v: Tensor, *, bias: Tensor | None = None) -> Tensor:
        taken.append(k.shape[2])
        return q

    monkeypatch.setattr(attention, "attend_by_products", products)
    for length in (attention.LONGEST_ROW, attention.LONGEST_ROW + 1):
        q = torch.randn(1, 1, length, 8, requires_grad=True)
        attend(q, q, q)
    assert taken == [attention.LONGEST_ROW]


def test_long_sequences_get_the_same_gradients_on_either_path() -> None:
    length = attention.LONGEST_ROW + 8
    inputs = [torch.randn(1, 2, length, 8, requires_grad=True) for _ in range(3)]
    bias = torch.randn(1, 2, 1, length, requires_grad=True)
    upstream = torch.randn(1, 2, length, 8)
    found = [
        torch.autograd.grad(path(*inputs, bias=bias), [*inputs, bias], upstream)
        for path in (attend, attend_by_products)
    ]
    for a, b in zip(*found, strict=True):
        assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_the_layout_for_few_rows_changes_no_value() -> None:
    transformer, x = make_transformer(), torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(3))
    before, expected = transformer.state_dict(), transformer(x, KeyMask(num_text=2), keep=9)
    before = {name: value.clone() for name, value in before.items()}
    layers.lay_out_for_few_rows(transformer)
    assert all(torch.equal(value, before[name]) for name, value in transformer.state_dict().items())
    assert transformer.blocks[0].mlp[0].weight.stride() == (1, 64)
    assert_close(transformer(x, KeyMask(num_text=2), keep=9), expected)
