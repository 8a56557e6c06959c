"""The head that tells quality before decoding: its curves, what it reads, what it costs."""

from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from textok.budgets.predictor import (
    DETAIL_SCALES,
    NUM_DETAILS,
    QualityPredictor,
    QualityPredictorConfig,
    curve_shapes,
    picture_detail,
)
from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok, TexTokConfig
from textok.recipes import RECIPES


def config_for(tokenizer: TexTokConfig) -> QualityPredictorConfig:
    return QualityPredictorConfig(
        tokenizer="some-model",
        measure="psnr",
        num_latents=tokenizer.num_latents,
        latent_dim=tokenizer.latent_dim,
    )


def flops(call: object) -> int:
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        call()  # pyrefly: ignore[not-callable]
    return counter.get_total_flops()


@pytest.mark.parametrize("recipe", ["icons-128", "imagenet-256-b-256", "imagenet-512-b-32"])
def test_it_costs_at_most_three_percent_of_the_encoder(recipe: str) -> None:
    sizes = RECIPES[recipe]().model
    with torch.device("meta"):
        model, head = TexTok(sizes).eval(), QualityPredictor(config_for(sizes)).eval()
        images = torch.zeros(1, 3, sizes.image_size, sizes.image_size)
        text = TextCondition(torch.zeros(1, 8, sizes.text_dim), torch.ones(1, 8, dtype=torch.bool))
        latents = torch.zeros(1, sizes.num_latents, sizes.latent_dim)
        encoder = flops(lambda: model.encoder(images, text, grid=(sizes.side, sizes.side)))
        products = flops(lambda: head(latents, torch.zeros(1, NUM_DETAILS)))
    # The counter sees products only. Detail: a mean and a square of every pixel, and of less at every scale.
    detail = 2 * images.numel() * (1 + len(DETAIL_SCALES))
    assert products > 0 and products + detail <= 0.03 * encoder


def test_detail_is_the_energy_finer_than_each_scale() -> None:
    flat = torch.full((1, 3, 64, 64), 0.5)
    assert torch.allclose(picture_detail(flat), torch.full((1, NUM_DETAILS), -4.0), atol=1e-2)
    checks = torch.ones(64, 64)
    checks[::2, ::2] = checks[1::2, 1::2] = -1
    fine = picture_detail(checks.expand(1, 3, 64, 64))
    assert torch.allclose(fine, torch.zeros(1, NUM_DETAILS), atol=1e-3)
    squares = checks[:8, :8].repeat_interleave(8, 0).repeat_interleave(8, 1).expand(1, 3, 64, 64)
    found = picture_detail(squares)[0]
    assert torch.allclose(found[:3], torch.full((3,), -4.0), atol=1e-2)  # finer than 2, 4 and 8 pixels
    assert torch.allclose(found[3:], torch.zeros(4), atol=1e-3)
    assert torch.isfinite(picture_detail(torch.rand(2, 3, 48, 80))).all()


@pytest.mark.parametrize(("longest", "degree", "count"), [(32, 3, 4), (256, 3, 4), (2, 3, 2), (1, 3, 1)])
def test_shapes_are_orthogonal_and_smooth(longest: int, degree: int, count: int) -> None:
    shapes = curve_shapes(longest, degree=degree)
    assert shapes.shape == (count, longest)
    torch.testing.assert_close(shapes @ shapes.T / longest, torch.eye(count), atol=1e-5, rtol=0)
    assert float(shapes[0].std(correction=0)) < 1e-5


def test_it_is_saved_with_its_scales_and_its_tokenizer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    head = QualityPredictor(config_for(TexTokConfig())).eval()
    head.curve_mean.uniform_(15, 25)
    head.detail_mean.uniform_()
    before = head(torch.zeros(1, 32, 8), torch.zeros(1, NUM_DETAILS))
    head.correction.uniform_(-1, 0)
    torch.testing.assert_close(
        head(torch.zeros(1, 32, 8), torch.zeros(1, NUM_DETAILS)), before + head.correction
    )
    latents, detail = torch.randn(2, 32, 8), torch.randn(2, NUM_DETAILS)
    head.save_pretrained(tmp_path)
    again = QualityPredictor.from_pretrained(tmp_path)
    torch.testing.assert_close(again(latents, detail), head(latents, detail))
    again.check(tokenizer_id="some-model", measure="psnr")
    with pytest.raises(ValueError, match=r"some-model.*other"):
        again.check(tokenizer_id="other", measure="psnr")


def test_sizes_are_checked() -> None:
    for wrong in ({"hidden": 0}, {"dropout": 1.0}):
        with pytest.raises(ValueError, match="got"):
            QualityPredictorConfig(tokenizer="a", measure="psnr", num_latents=4, latent_dim=2, **wrong)
