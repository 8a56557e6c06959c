"""The tokenizer apart from its text: shapes, budgets, grids, statistics, precision, compilation."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from textok.models.bottleneck import AEConfig, BottleneckConfig, FSQConfig, KLConfig, NormConfig, VQConfig
from textok.models.layers import checkpoint_activations
from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok, TexTokConfig, count_parameters, cut
from textok.models.vit import patchify, unpatchify

BOTTLENECKS = [
    AEConfig(latent_dim=4),
    KLConfig(latent_dim=4),
    NormConfig(latent_dim=4),
    FSQConfig(levels=(8, 5, 5, 5)),
    VQConfig(codebook_size=32, latent_dim=4),
]
DISCRETE = [config for config in BOTTLENECKS if config.kind in ("fsq", "vq")]
MakeModel = Callable[..., TexTok]
MakeText = Callable[..., TextCondition]


def kind_of(config: object) -> str:
    return getattr(config, "kind", str(config))


@pytest.mark.parametrize("placement", ["both", "encoder", "decoder", "none"])
@pytest.mark.parametrize("bottleneck", BOTTLENECKS, ids=kind_of)
def test_shapes(
    make_model: MakeModel, make_text: MakeText, images: Tensor, placement: str, bottleneck: BottleneckConfig
) -> None:
    model = make_model(bottleneck, placement=placement)
    text = make_text([5, 0, 9])
    encoding = model.encode(images, text, num_tokens=3)
    assert encoding.latents.shape == (3, 3, 4)
    assert (encoding.codes is not None) == (bottleneck.kind in ("fsq", "vq"))
    assert (encoding.log_variance is not None) == (bottleneck.kind == "kl")
    assert model.decode(encoding.latents, text).shape == images.shape
    made = model.train()(images, text, lengths=torch.tensor([1, 4, 2]))
    assert made.images.shape == images.shape
    assert made.latents.shape == (3, 4, 4)
    assert made.bottleneck_loss.shape == ()


@pytest.mark.parametrize("bottleneck", BOTTLENECKS, ids=kind_of)
def test_a_smaller_budget_is_a_prefix(
    make_model: MakeModel, make_text: MakeText, images: Tensor, bottleneck: BottleneckConfig
) -> None:
    model, text = make_model(bottleneck), make_text([5, 0, 9])
    full = model.encode(images, text)
    for budget in (1, 4, 6):
        part = model.encode(images, text, num_tokens=budget)
        assert_close(part.latents, full.latents[:, :budget], rtol=0, atol=1e-6)
        assert part.codes is None or torch.equal(part.codes, full.codes[:, :budget])


@pytest.mark.parametrize("bottleneck", BOTTLENECKS, ids=kind_of)
def test_every_parameter_learns(
    make_model: MakeModel, make_text: MakeText, images: Tensor, bottleneck: BottleneckConfig
) -> None:
    model = make_model(bottleneck).train()
    made = model(images, make_text([5, 0, 9]), lengths=torch.tensor([6, 2, 3]))
    (made.images.square().mean() + made.bottleneck_loss).backward()
    # A key's bias adds the same to every score of a query, which softmax does not see.
    learning = {k: p for k, p in model.named_parameters() if not k.endswith(".k.bias")}
    still = [key for key, p in learning.items() if p.grad is None or p.grad.abs().max() < 1e-9]
    assert not still


def test_decode_with_lengths_equals_each_row_cut(
    make_model: MakeModel, make_text: MakeText, images: Tensor
) -> None:
    model, text = make_model(), make_text([5, 0, 9])
    latents = model.encode(images, text).latents
    lengths = [2, 5, 1]
    together = model.decode(latents, text, lengths=torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = model.decode(latents[row : row + 1, :length], text[row : row + 1])
        assert_close(together[row : row + 1], alone, rtol=0, atol=1e-5)
    assert not torch.allclose(together, model.decode(latents, text), atol=1e-3)


def test_the_training_pass_is_encode_then_decode(
    make_model: MakeModel, make_text: MakeText, images: Tensor
) -> None:
    model, text, lengths = make_model(AEConfig(latent_dim=4)), make_text([5, 0, 9]), torch.tensor([4, 1, 6])
    expected = model.decode(model.encode(images, text).latents, text, lengths=lengths)
    assert_close(model(images, text, lengths=lengths).images, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("lengths", [[0, 2, 0], [0, 0, 0]])
def test_a_row_without_latents_is_made_of_its_caption_alone(
    make_model: MakeModel, make_text: MakeText, images: Tensor, lengths: list[int]
) -> None:
    model, text = make_model(KLConfig(latent_dim=4)).train(), make_text([5, 4, 9])
    images = images.clone().requires_grad_()
    made = model(images, text, lengths=torch.tensor(lengths))
    made.images[[0, 2]].square().mean().backward()
    reached = images.grad is not None and bool(images.grad.any())
    assert not reached, "the picture reaches a row that keeps none of its latents"
    assert float(model.decoder.text.project.weight.grad.abs().max()) > 0
    encoded = any(weight.grad is not None for weight in model.encoder.parameters())
    assert encoded == any(lengths), "an encoder that nothing reads would be moved by its optimizer"
    empty = model.eval().decode(torch.zeros(3, 1, 4), text, lengths=torch.zeros(3, dtype=torch.long))
    assert_close(made.images[[0, 2]], empty[[0, 2]], rtol=0, atol=1e-5)


def test_pictures_that_keep_nothing_are_not_encoded(
    make_model: MakeModel, make_text: MakeText, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, text, encoded = make_model(AEConfig(latent_dim=4)), make_text([5, 4, 9]), list[int]()
    whole = model(images, text, lengths=torch.tensor([3, 3, 2]))
    forward = model.encoder.forward
    monkeypatch.setattr(
        model.encoder,
        "forward",
        lambda x, *rest, **named: encoded.append(len(x)) or forward(x, *rest, **named),
    )
    part = model(images, text, lengths=torch.tensor([3, 0, 2]))
    assert encoded == [2]
    assert_close(part.images[[0, 2]], whole.images[[0, 2]], rtol=0, atol=1e-5)


@given(lengths=st.lists(st.integers(0, 7), min_size=1, max_size=5))
def test_cut_keeps_each_row_to_its_length(lengths: list[int]) -> None:
    states = torch.arange(len(lengths) * 7.0).reshape(len(lengths), 7, 1)
    kept, present = cut(states, torch.tensor(lengths))
    assert torch.equal(kept, states[:, : max(1, *lengths)])  # one is always there
    found = [max(lengths)] * len(lengths) if present is None else present.sum(1).tolist()
    assert found == lengths
    assert present is None or bool((present[:, :-1] >= present[:, 1:]).all())  # the tail goes, not the head


@pytest.mark.parametrize("grid", [(4, 4), (2, 7), (7, 2), (1, 3), (9, 8)])
def test_any_grid(make_model: MakeModel, make_text: MakeText, grid: tuple[int, int]) -> None:
    model, text = make_model(), make_text([5])
    picture = torch.rand(1, 3, 8 * grid[0], 8 * grid[1]) * 2 - 1
    latents = model.encode(picture, text).latents
    decoded = model.decode(latents, text, grid=grid)
    assert latents.shape == (1, 6, 4)
    assert decoded.shape == picture.shape
    assert not torch.allclose(decoded[..., :8, :8], decoded[..., -8:, -8:], atol=1e-3)  # places differ


@settings(max_examples=20)
@given(rows=st.integers(1, 4), columns=st.integers(1, 4), patch=st.integers(1, 3))
def test_patches_round_trip(rows: int, columns: int, patch: int) -> None:
    images = torch.arange(2.0 * 3 * rows * patch * columns * patch).reshape(2, 3, rows * patch, -1)
    patches = patchify(images, grid=(rows, columns))
    assert torch.equal(unpatchify(patches, grid=(rows, columns), patch_size=patch), images)
    assert torch.equal(patches[:, columns - 1], images[:, :, :patch, -patch:].flatten(1))  # row by row


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.encode(torch.zeros(1, 3, 30, 32)), "images: got 30 x 32"),
        (
            lambda m: m.encode(torch.zeros(1, 1, 32, 32)),
            r"images: got shape \(1, 1, 32, 32\), .*\(b, 3, h, w\)",
        ),
        (lambda m: m.encode(torch.zeros(1, 3, 32, 32), num_tokens=0), "num_tokens: got 0, expected 1 to 6"),
        (lambda m: m.encode(torch.zeros(1, 3, 32, 32), num_tokens=7), "num_tokens: got 7, expected 1 to 6"),
        (lambda m: m.decode(torch.zeros(1, 7, 4)), "num_tokens: got 7"),
        (lambda m: m.decode(torch.zeros(1, 2, 5)), r"tokens: got shape \(1, 2, 5\), .*\(b, k, 4\)"),
        (lambda m: m.decode(torch.zeros(1, 2, 4, dtype=torch.long)), r"tokens: got shape \(1, 2, 4\)"),
        (lambda m: m.decode(torch.zeros(1, 2, dtype=torch.long)), "tokens: got integer codes"),
        (lambda m: m.decode(torch.zeros(1, 2, 4), grid=(0, 4)), r"grid: got \(0, 4\)"),
        (lambda m: m.decode(torch.zeros(2, 2, 4), lengths=torch.tensor([1, 3])), "lengths: got 1 to 3"),
        (lambda m: m.decode(torch.zeros(2, 2, 4), lengths=torch.tensor([-1, 1])), "lengths: got -1 to 1"),
        (lambda m: m.decode(torch.zeros(2, 2, 4), lengths=torch.tensor([1])), r"lengths: got shape \(1,\)"),
    ],
)
def test_bad_input_is_named(make_model: MakeModel, call: Callable[[TexTok], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(make_model())


@pytest.mark.parametrize("code", [-1, 32])
def test_codes_outside_the_vocabulary_are_refused(make_model: MakeModel, code: int) -> None:
    model = make_model(VQConfig(codebook_size=32, latent_dim=4))
    with pytest.raises(ValueError, match=r"expected \[0, 31\]"):
        model.decode(torch.tensor([[3, code]]))


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 30}, "model.image_size: got 30"),
        ({"dim": 36}, r"model.dim: got 36, expected a multiple of 4 \* num_heads = 8"),
        ({"num_heads": 0}, "model.num_heads: got 0"),
        ({"patch_size": 0}, "model.patch_size: got 0"),
        ({"num_latents": 0}, "model.num_latents: got 0"),
        ({"mlp_ratio": 0.0}, "model.mlp_ratio: got 0.0"),
        ({"placement": "left"}, "model.placement: got 'left'"),
    ],
)
def test_bad_configurations_are_named(
    make_config: Callable[..., TexTokConfig], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_config(**changes)


@pytest.mark.parametrize("bottleneck", BOTTLENECKS, ids=kind_of)
def test_latent_statistics_normalise_and_cancel(
    make_model: MakeModel, images: Tensor, bottleneck: BottleneckConfig
) -> None:
    model = make_model(bottleneck)
    plain = model.encode(images)
    decoded = model.decode(plain.latents)
    model.latent_mean.copy_(plain.latents.flatten(0, 1).mean(0))
    model.latent_std.copy_(plain.latents.flatten(0, 1).std(0).clamp(min=0.1))
    scaled = model.encode(images)
    assert_close(scaled.latents.flatten(0, 1).mean(0), torch.zeros(4), rtol=0, atol=1e-5)
    assert_close(scaled.latents.flatten(0, 1).std(0) * model.latent_std, plain.latents.flatten(0, 1).std(0))
    assert_close(model.decode(scaled.latents), decoded, rtol=0, atol=1e-5)
    if scaled.log_variance is not None:
        assert_close((scaled.log_variance / 2).exp() * model.latent_std, (plain.log_variance / 2).exp())


@pytest.mark.parametrize("bottleneck", DISCRETE, ids=kind_of)
def test_codes_decode_as_their_latents(
    make_model: MakeModel, make_text: MakeText, images: Tensor, bottleneck: BottleneckConfig
) -> None:
    model, text = make_model(bottleneck), make_text([5, 0, 9])
    # States of an untrained encoder hardly differ: spread them, so that several codes are used.
    nn.init.normal_(model.encoder.output.weight, std=1.0)
    encoding = model.encode(images, text)
    assert torch.equal(model.decode(encoding.codes, text), model.decode(encoding.latents, text))
    assert len(encoding.codes.unique()) > 1
    assert 0 <= int(encoding.codes.min()) <= int(encoding.codes.max()) < model.num_codes


def test_activation_checkpointing_changes_no_gradient(
    make_model: MakeModel, make_text: MakeText, images: Tensor
) -> None:
    gradients = []
    for enabled in (False, True):
        model = make_model().train()
        checkpoint_activations(model, enabled=enabled)
        made = model(images, make_text([5, 0, 9]), generator=torch.Generator().manual_seed(0))
        made.images.square().mean().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for plain, recomputed in zip(*gradients, strict=True):
        assert_close(recomputed, plain)


@pytest.mark.parametrize("bottleneck", BOTTLENECKS, ids=kind_of)
def test_runs_in_16_bit_weights(
    make_model: MakeModel, make_text: MakeText, images: Tensor, bottleneck: BottleneckConfig
) -> None:
    model, text = make_model(bottleneck), make_text([5, 0, 9])
    latents = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))
    expected = model.decode(latents, text)
    model.encoder.to(torch.bfloat16)
    model.decoder.to(torch.bfloat16)
    assert model.encode(images, text).latents.dtype == torch.float32
    decoded = model.decode(latents, text)
    assert decoded.dtype == torch.float32
    assert ((decoded - expected).norm() / expected.norm()).item() < 0.05


def test_textok_b_has_the_parameters_of_the_paper() -> None:
    """176M in encoder and decoder: 256 pixels, patch 8, T5-XL captions (Zha et al. 2025, section 4)."""
    config = TexTokConfig(
        image_size=256,
        patch_size=8,
        dim=768,
        encoder_depth=12,
        decoder_depth=12,
        num_heads=12,
        num_latents=128,
        bottleneck=AEConfig(latent_dim=8),
        text_dim=2048,
        max_text_tokens=128,
    )
    with torch.device("meta"):
        model = TexTok(config)
    assert count_parameters(model) == count_parameters(model.encoder) + count_parameters(model.decoder)
    assert count_parameters(model) == pytest.approx(176e6, rel=0.02)
