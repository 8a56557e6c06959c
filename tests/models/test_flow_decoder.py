"""The flow decoder: directly it is the direct decoder, in steps it samples; both learn in one training pass."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from textok.models.bottleneck import AEConfig, BottleneckConfig, FSQConfig, KLConfig, NormConfig, VQConfig
from textok.models.decoder import DirectConfig, FlowDecoderConfig
from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok
from textok.objectives.reconstruction import FlowLossConfig, LossConfig, ReconstructionObjective
from tiny import tiny_model

FLOW = FlowDecoderConfig(patch_channels=16, steps=3)
BOTTLENECKS = [
    AEConfig(latent_dim=4),
    KLConfig(latent_dim=4),
    NormConfig(latent_dim=4),
    FSQConfig(levels=(8, 5, 5, 5)),
    VQConfig(codebook_size=32, latent_dim=4),
]
MakeModel = Callable[..., TexTok]
MakeText = Callable[..., TextCondition]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents_of(images: Tensor, count: int = 6) -> Tensor:
    return torch.randn(len(images), count, 4, generator=seeded(5))


@pytest.fixture
def model(make_model: MakeModel) -> TexTok:
    return make_model(decoder=FLOW)


@pytest.fixture
def text(make_text: MakeText) -> TextCondition:
    return make_text([5, 0, 9])


def test_before_training_it_is_the_direct_decoder(images: Tensor, text: TextCondition) -> None:
    shape = {"text_dim": 12, "max_text_tokens": 64, "num_latents": 6}
    direct = tiny_model(decoder=DirectConfig(), **shape)
    flow = tiny_model(decoder=FLOW, **shape)
    assert direct.state_dict().keys() < flow.state_dict().keys()
    for lengths in (None, torch.tensor([2, 6, 1])):
        expected = direct.decode(latents_of(images), text, lengths=lengths)
        found = flow.decode(latents_of(images), text, lengths=lengths, steps=0)
        assert_close(found, expected, rtol=0, atol=1e-6)


def test_direct_rows_of_a_training_pass_are_decoded_in_one_pass(
    model: TexTok, images: Tensor, text: TextCondition
) -> None:
    latents, noisy = latents_of(images), torch.randn(images.shape, generator=seeded(1))
    only = torch.tensor([True, False, True])
    times = torch.tensor([0.3, 0.6, 0.9])
    kwargs = {"grid": (4, 4), "noisy": noisy, "times": times}
    mixed = model.decoder.denoise(latents, text, is_direct=only, **kwargs)
    assert_close(mixed[only], model.decoder.denoise(latents, text, grid=(4, 4))[only], rtol=0, atol=1e-4)
    assert_close(mixed[1], model.decoder.denoise(latents, text, **kwargs)[1], rtol=0, atol=1e-4)
    other = model.decoder.denoise(latents, text, is_direct=only, **(kwargs | {"noisy": noisy * 0.5}))
    assert_close(other[only], mixed[only], rtol=0, atol=1e-4)
    assert not torch.allclose(other[1], mixed[1], atol=1e-3)


@pytest.mark.parametrize("placement", ["both", "encoder", "decoder", "none"])
@pytest.mark.parametrize("bottleneck", BOTTLENECKS, ids=lambda b: b.kind)
def test_every_bottleneck_and_placement_learns_and_decodes(
    make_model: MakeModel, images: Tensor, text: TextCondition, placement: str, bottleneck: BottleneckConfig
) -> None:
    model = make_model(bottleneck, decoder=FLOW, placement=placement).train()
    objective = ReconstructionObjective(LossConfig(perceptual=0.0, flow=FlowLossConfig(perceptual=0.0)))
    many, captions = images.repeat(4, 1, 1, 1), TextCondition.pad([torch.randn(3, 12) for _ in range(12)])
    lengths = torch.arange(12) % 6 + 1
    result = model(many, captions, lengths=lengths, generator=seeded(0))
    terms = objective(result, many)
    assert terms.keys() == {"pixels", "flow", "bottleneck"} and all(
        terms[n].item() > 0 for n in ("pixels", "flow")
    )
    torch.stack(list(terms.values())).sum().backward()
    for part in (model.encoder.output, model.decoder.latent, model.decoder.noisy, model.decoder.detailer):
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())
    model.eval()
    encoding = model.encode(images, text)
    tokens = encoding.latents if encoding.codes is None else encoding.codes
    assert model.decode(tokens, text).shape == images.shape


def test_every_parameter_learns(model: TexTok, images: Tensor, text: TextCondition) -> None:
    result = model.train()(images.repeat(4, 1, 1, 1), None, generator=seeded(0))
    result.images.square().mean().backward()
    learning = {k: p for k, p in model.named_parameters() if not k.endswith(".k.bias") and ".text." not in k}
    still = [key for key, p in learning.items() if p.grad is None or not p.grad.any()]
    assert not [key for key in still if "text_bias" not in key]


def test_a_seed_is_a_picture(model: TexTok, images: Tensor, text: TextCondition) -> None:
    latents = latents_of(images)
    first, again, other = (model.decode(latents, text, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


def test_a_picture_does_not_depend_on_those_beside_it(
    model: TexTok, images: Tensor, text: TextCondition
) -> None:
    latents = latents_of(images)
    for seeds in (None, [seeded(1), seeded(2), seeded(3)]):
        together = model.decode(latents, text, generator=seeds)
        alone = model.decode(latents[1:2], text[1:2], generator=None if seeds is None else [seeded(2)])
        assert_close(together[1:2], alone, rtol=0, atol=1e-3)


def test_lengths_are_each_row_cut(model: TexTok, images: Tensor, text: TextCondition) -> None:
    latents = latents_of(images)
    together = model.decode(latents, text, lengths=torch.tensor([2, 5, 1]))
    alone = model.decode(latents[:1, :2], text[:1])
    assert_close(together[:1], alone, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("guidance", "calls"), [(1.0, 4), (2.0, 4 + 2)])
def test_guidance_costs_a_second_pass_only_where_it_acts(
    make_model: MakeModel,
    images: Tensor,
    text: TextCondition,
    monkeypatch: pytest.MonkeyPatch,
    guidance: float,
    calls: int,
) -> None:
    config = FlowDecoderConfig(patch_channels=16, time_power=1.0, guidance_interval=(0.4, 0.9))
    model = make_model(decoder=config)  # times 1, 0.75, 0.5 and 0.25
    texts: list[bool] = []
    denoise = model.decoder.denoise

    def counted(latents: Tensor, text: TextCondition | None, **kwargs: object) -> Tensor:
        texts.append(text is not None)
        return denoise(latents, text, **kwargs)

    monkeypatch.setattr(model.decoder, "denoise", counted)
    model.decode(latents_of(images), text, steps=4, guidance=guidance)
    assert len(texts) == calls and texts.count(False) == calls - 4


def test_guidance_moves_away_from_no_caption(model: TexTok, images: Tensor, text: TextCondition) -> None:
    latents = latents_of(images)
    plain, guided = (model.decode(latents, text, guidance=scale) for scale in (1.0, 3.0))
    assert not torch.allclose(plain[0], guided[0], atol=1e-3)
    assert_close(plain[1], guided[1], rtol=0, atol=1e-3)  # this row has no caption
    assert torch.equal(model.decode(latents, None, guidance=3.0), model.decode(latents, None))


def test_a_late_start_begins_at_the_direct_picture(
    model: TexTok, images: Tensor, text: TextCondition
) -> None:
    latents = latents_of(images)
    direct = model.decode(latents, text, steps=0)
    near = model.decode(latents, text, steps=1, start=1e-3)
    expected = model.decoder.denoise(latents, text, grid=(4, 4), noisy=direct, times=torch.full((3,), 1e-3))
    assert (near - expected).abs().max() < 0.1 * expected.abs().max()
    assert not torch.allclose(model.decode(latents, text, start=0.4), model.decode(latents, text), atol=1e-2)


@pytest.mark.parametrize("grid", [(4, 4), (2, 7)])
def test_any_grid(model: TexTok, text: TextCondition, grid: tuple[int, int]) -> None:
    pictures = model.decode(torch.randn(3, 2, 4), text, grid=grid)
    assert pictures.shape == (3, 3, 8 * grid[0], 8 * grid[1])


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("decoder", "settings", "key"),
    [
        (DirectConfig(), {"steps": 8}, "steps: got 8"),
        (DirectConfig(), {"guidance": 2.0}, "guidance: got 2.0"),
        (DirectConfig(), {"start": 0.4}, "start: got 0.4"),
        (FLOW, {"steps": -1}, "steps: got -1"),
        (FLOW, {"start": 0.0}, "start: got 0.0"),
        (FLOW, {"steps": 0, "guidance": 2.0}, "guidance: got 2.0"),
    ],
)
def test_settings_that_do_not_fit_are_named(
    make_model: MakeModel, decoder: object, settings: dict[str, float], key: str
) -> None:
    with pytest.raises(ValueError, match=key):
        make_model(decoder=decoder).decode(torch.zeros(1, 2, 4), **settings)
    if decoder == FLOW and "guidance" in settings:
        with pytest.raises(ValueError, match=r"guidance: got 2\.0"):
            make_model(decoder=FLOW, placement="encoder").decode(torch.zeros(1, 2, 4), guidance=2.0)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"direct_share": 0.9, "uniform_share": 0.2}, "decoder.direct_share"),
        ({"steps": -1}, "decoder.steps"),
        ({"start": 0.0}, "decoder.start"),
        ({"time_power": 0.0}, "decoder.time_power"),
    ],
)
def test_bad_configurations_are_named(change: dict[str, float], key: str) -> None:
    with pytest.raises(ValueError, match=f"{key}: got"):
        FlowDecoderConfig(**change)


@pytest.mark.slow
def test_it_learns_to_draw_one_picture() -> None:
    torch.manual_seed(0)
    model = tiny_model(AEConfig(latent_dim=4), decoder=FLOW, placement="none").train()
    picture = torch.zeros(1, 3, 32, 32)
    picture[:, 0, :16] = 1.0
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    objective = ReconstructionObjective(
        LossConfig(l2=5.0, perceptual=0.0, flow=FlowLossConfig(perceptual=0.0))
    )
    for step in range(150):
        batch = picture.expand(8, -1, -1, -1)
        terms = objective(model(batch, generator=seeded(step)), batch)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    model.eval()
    latents = model.encode(picture).latents
    for steps in (0, 8):
        error = (model.decode(latents, steps=steps) - picture).square().mean()
        assert error.item() < 0.03, steps


def test_a_flow_decoder_needs_even_patches() -> None:
    with pytest.raises(ValueError, match=r"model\.patch_size"):
        tiny_model(image_size=30, patch_size=5, decoder=FlowDecoderConfig())
