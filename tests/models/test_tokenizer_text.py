"""The caption's way into the tokenizer: placements, padding, absent captions, errors."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from textok.models.text import TextCondition, TextTokens
from textok.models.tokenizer import TexTok, TexTokConfig

MakeModel = Callable[..., TexTok]
MakeText = Callable[..., TextCondition]


def padded(text: TextCondition, length: int, *, garbage: float) -> TextCondition:
    """The same captions with ``garbage`` in masked positions, up to ``length``."""
    rows, used, width = text.embeddings.shape
    embeddings = torch.full((rows, length, width), garbage)
    mask = torch.zeros(rows, length, dtype=torch.bool)
    embeddings[:, :used] = torch.where(text.mask[..., None], text.embeddings, garbage)
    mask[:, :used] = text.mask
    return TextCondition(embeddings=embeddings, mask=mask)


def run(model: TexTok, images: Tensor, text: TextCondition | None) -> tuple[Tensor, Tensor]:
    """Latents under the text, and pictures of fixed latents under the text: each side by itself."""
    fixed = torch.randn(len(images), 5, 4, generator=torch.Generator().manual_seed(0))
    return model.encode(images, text).latents, model.decode(fixed, text)


def rows_differ(one: Tensor, other: Tensor) -> list[bool]:
    return [(a - b).abs().max().item() > 1e-3 for a, b in zip(one, other, strict=True)]


@pytest.mark.parametrize("length", [10, 40, 64])
@pytest.mark.parametrize("garbage", [1e4, float("nan"), float("inf")])
def test_padding_and_what_is_in_it_change_nothing(
    make_model: MakeModel, make_text: MakeText, images: Tensor, length: int, garbage: float
) -> None:
    model, text = make_model(), make_text([5, 0, 9])
    for found, expected in zip(
        run(model, images, padded(text, length, garbage=garbage)), run(model, images, text), strict=True
    ):
        assert_close(found, expected, rtol=0, atol=1e-5)


def test_no_text_is_a_row_without_tokens(make_model: MakeModel, make_text: MakeText, images: Tensor) -> None:
    model = make_model()
    dropped = make_text([5, 3, 9]).dropped(torch.ones(3, dtype=torch.bool))
    for found, expected in zip(run(model, images, dropped), run(model, images, None), strict=True):
        assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_mixed_batch_is_its_rows(make_model: MakeModel, make_text: MakeText, images: Tensor) -> None:
    model, text = make_model(), make_text([5, 0, 9])
    latents = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    encoded, decoded = model.encode(images, text).latents, model.decode(latents, text)
    for row in range(3):
        only = slice(row, row + 1)
        alone = None if row == 1 else text[only]
        assert_close(encoded[only], model.encode(images[only], alone).latents, rtol=0, atol=1e-5)
        assert_close(decoded[only], model.decode(latents[only], alone), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("placement", "encoder", "decoder"),
    [("both", True, True), ("encoder", True, False), ("decoder", False, True), ("none", False, False)],
)
def test_a_caption_counts_on_the_sides_that_read_it(
    make_model: MakeModel,
    make_text: MakeText,
    images: Tensor,
    placement: str,
    *,
    encoder: bool,
    decoder: bool,
) -> None:
    model, text = make_model(placement=placement), make_text([5, 0, 9])
    none, told = run(model, images, None), run(model, images, text)
    other = run(model, images, make_text([5, 0, 9], seed=7))
    for side, reads in ((0, encoder), (1, decoder)):
        assert rows_differ(told[side], none[side]) == [reads, False, reads]
        assert rows_differ(told[side], other[side]) == [reads, False, reads]
        if not reads:
            assert torch.equal(told[side], none[side])
    names = [key for key in model.state_dict() if "text" in key]
    assert any(key.startswith("encoder.") for key in names) == encoder
    assert any(key.startswith("decoder.") for key in names) == decoder


def test_a_text_bias_of_minus_infinity_would_hide_the_caption(
    make_model: MakeModel, make_text: MakeText, images: Tensor
) -> None:
    model = make_model()
    for key, parameter in model.named_parameters():
        if key.endswith("text_bias"):
            torch.nn.init.constant_(parameter, -80.0)
    told, none = run(model, images, make_text([5, 0, 9])), run(model, images, None)
    assert_close(told, none, rtol=0, atol=1e-6)


def test_without_text_bias_there_is_no_parameter_of_it(make_model: MakeModel) -> None:
    assert not [key for key in make_model(text_bias=None).state_dict() if "text_bias" in key]
    biased = make_model().state_dict()
    assert len([key for key in biased if "text_bias" in key]) == 4  # two blocks a side


def test_word_order_counts(make_model: MakeModel, make_text: MakeText, images: Tensor) -> None:
    model, text = make_model(), make_text([6, 6, 6])
    turned = TextCondition(embeddings=text.embeddings.flip(1), mask=text.mask)
    for told, other in zip(run(model, images, text), run(model, images, turned), strict=True):
        assert not torch.allclose(told, other, rtol=0, atol=1e-4)


def test_the_gradient_of_the_null_token_comes_from_rows_without_a_caption(
    make_model: MakeModel, make_text: MakeText, images: Tensor
) -> None:
    for lengths, reached in (([5, 3, 9], False), ([5, 0, 9], True)):
        model = make_model().train()
        model(images, make_text(lengths)).images.square().mean().backward()
        for side in (model.encoder, model.decoder):
            assert (side.text.null.grad.abs().max() > 0) == reached  # a zero, not None: DDP wants one


@pytest.mark.parametrize(
    ("lengths", "width", "message"),
    [
        ([5, 5], 12, "text: got 2 captions for 3 pictures"),
        ([5, 5, 5], 10, "text: got states 10 wide"),
        ([5, 65, 5], 12, "text: got 65 tokens"),
    ],
)
def test_text_that_does_not_fit_is_named(
    make_model: MakeModel, images: Tensor, lengths: list[int], width: int, message: str
) -> None:
    model, text = make_model(), TextCondition.pad([torch.zeros(n, width) for n in lengths])
    with pytest.raises(ValueError, match=message):
        model.encode(images, text)
    with pytest.raises(ValueError, match=message):
        model.decode(torch.zeros(3, 2, 4), text)


# --- TextCondition --------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=5), data=st.data())
def test_pad_slice_and_drop(lengths: list[int], data: st.DataObject) -> None:
    features = [torch.randn(n, 3) for n in lengths]
    text = TextCondition.pad(features)
    assert len(text) == len(lengths)
    assert text.mask.sum(1).tolist() == lengths
    assert text.mask.shape[1] == max(1, *lengths)
    for row, feature in enumerate(features):
        assert torch.equal(text.embeddings[row][text.mask[row]], feature)
    order = torch.tensor(data.draw(st.permutations(range(len(lengths)))))
    start = data.draw(st.integers(0, len(lengths) - 1))
    assert_same(text[order], TextCondition.pad([features[i] for i in order]))
    assert_same(text[start:], TextCondition.pad(features[start:]))
    rows = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths))))
    kept = [0 if gone else n for n, gone in zip(lengths, rows.tolist(), strict=True)]
    assert text.dropped(rows).mask.sum(1).tolist() == kept


def assert_same(one: TextCondition, other: TextCondition) -> None:
    assert torch.equal(one.mask, other.mask)
    assert torch.equal(one.embeddings, other.embeddings)


def test_slicing_keeps_tokens_after_a_gap() -> None:
    mask = torch.tensor([[False, True, False, True, False], [True, False, False, False, False]])
    text = TextCondition(embeddings=torch.randn(2, 5, 3), mask=mask)
    assert torch.equal(text[:].mask, mask[:, :4])
    assert torch.equal(text[1:].mask, mask[1:, :1])


@pytest.mark.usefixtures("untyped")
def test_bad_text_conditions_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 4\).*mask.*\(2, 5\)"):
        TextCondition(embeddings=torch.zeros(2, 3, 4), mask=torch.ones(2, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="got no captions"):
        TextCondition.pad([])


def test_the_embeddings_may_be_in_16_bits(make_model: MakeModel, make_text: MakeText, images: Tensor) -> None:
    model, text = make_model(), make_text([5, 0, 9])
    assert_close(
        run(model, images, text.to("cpu", torch.float16)), run(model, images, text), rtol=0, atol=0.05
    )


def test_text_tokens_put_the_null_token_first() -> None:
    tokens = TextTokens(text_dim=3, dim=8, max_tokens=4)
    found, present = tokens(TextCondition.pad([torch.randn(2, 3), torch.randn(0, 3)]), batch=2)
    assert present.tolist() == [[True, True], [True, False]]
    assert torch.equal(found[1, 0], tokens.null)
    assert not torch.allclose(found[0, 0], tokens.null)


@pytest.mark.parametrize("change", [{"placement": "none"}, {"max_text_tokens": 3}])
def test_arms_of_a_comparison_start_from_the_same_weights(change):
    def fresh(config: TexTokConfig) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        return TexTok(config).state_dict()

    config = TexTokConfig(image_size=32, patch_size=8, dim=32, encoder_depth=2, decoder_depth=2, num_heads=2)
    one, other = fresh(config), fresh(replace(config, **change))
    shared = [
        name for name in one if name in other and "encoder.text." not in name and "decoder.text." not in name
    ]
    assert len(shared) > 40
    assert all(torch.equal(one[name], other[name]) for name in shared)


def test_a_pooled_caption_has_a_fixed_number_of_tokens(make_model: MakeModel, make_text: MakeText) -> None:
    pool = make_model(text_pool=3).encoder.text
    short, long = (pool(make_text([n]), batch=1) for n in (2, 40))
    assert short[0].shape == long[0].shape == (1, 3, 32) and bool(short[1].all())
    none, empty = pool(None, batch=1)[0], pool(make_text([0]), batch=1)[0]
    assert_close(none, empty)
    assert not torch.allclose(none, short[0], atol=1e-3)


@pytest.mark.parametrize("change", [{"text_pool": 3}, {"text_path": "keys"}])
def test_padding_changes_no_pooled_caption_and_no_keys(
    make_model: MakeModel, make_text: MakeText, images: Tensor, change: dict[str, object]
) -> None:
    model = make_model(**change)
    text, other = make_text([5, 0, 9]), make_text([5, 0, 9], seed=2)
    wide = padded(text, 12, garbage=7.0)
    sides = zip(*(run(model, images, captions) for captions in (text, wide, other)), strict=True)
    for found, same, changed in sides:
        assert_close(found, same, rtol=0, atol=1e-5)
        assert not torch.allclose(found[0], changed[0], atol=1e-3)
