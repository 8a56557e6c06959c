"""The objective: each term is a weighted mean, and a loss is one module."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from textok.objectives import Estimate, TrainingPass
from textok.objectives.perceptual import EfficientNetPerceptualLoss
from textok.objectives.reconstruction import (
    FlowLoss,
    FlowLossConfig,
    LossConfig,
    PerceptualDistance,
    PixelLoss,
    ReconstructionObjective,
    spread,
)


def result(images: Tensor) -> TrainingPass:
    loss = torch.tensor(0.25)
    return TrainingPass(estimate=Estimate(images=images), latents=torch.zeros(2, 1, 1), bottleneck_loss=loss)


def test_values_by_hand() -> None:
    images, targets = torch.full((2, 3, 4, 4), 0.5), torch.full((2, 3, 4, 4), -0.5)
    squared, absolute = PixelLoss(l2=1.0, l1=0.0), PixelLoss(l2=0.0, l1=1.0)
    assert squared(Estimate(images=images), targets / 3).item() == pytest.approx(4 / 9)
    assert absolute(Estimate(images=images), targets).item() == 1
    assert PixelLoss(l2=2.0, l1=3.0)(Estimate(images=images), targets).item() == pytest.approx(5)


@pytest.mark.parametrize("weights", [{"l2": 1.0, "l1": 0.0}, {"l2": 0.0, "l1": 1.0}])
def test_a_weight_keeps_its_meaning(weights: dict[str, float], pictures: Tensor) -> None:
    loss, images = PixelLoss(**weights), pictures + 0.1 * torch.randn_like(pictures)
    expected = loss(Estimate(images=images), pictures)
    for repeats in ((1, 1, 2, 2), (3, 1, 1, 1)):
        repeated = loss(Estimate(images=images.repeat(*repeats)), pictures.repeat(*repeats))
        torch.testing.assert_close(repeated, expected)


def test_pixels_are_compared_in_fp32(pictures: Tensor) -> None:
    pictures = pictures.bfloat16()
    assert PixelLoss(l2=1.0, l1=1.0)(Estimate(images=pictures), pictures).dtype == torch.float32


def test_terms_are_weighted_and_named(pictures: Tensor) -> None:
    config = LossConfig(l2=2.0, l1=3.0, perceptual=0.5)
    images = pictures + 0.1 * torch.randn_like(pictures)
    terms = ReconstructionObjective(config)(result(images), pictures)
    difference = images - pictures
    expected = 2 * difference.square().mean() + 3 * difference.abs().mean()
    torch.testing.assert_close(terms["pixels"], expected)
    distance = EfficientNetPerceptualLoss()(images, pictures)
    torch.testing.assert_close(terms["perceptual"], 0.5 * distance)
    assert terms["bottleneck"].item() == 0.25


def test_the_perceptual_distance_sees_its_share_evenly_spread() -> None:
    assert spread(torch.arange(8), 0.25).tolist() == [2, 6]
    assert spread(torch.arange(5), 0.5).tolist() == [0, 2, 4]
    assert spread(torch.arange(3), 1.0).tolist() == [0, 1, 2] and not len(spread(torch.arange(0), 0.5))
    pictures = torch.rand(8, 3, 32, 32)
    images = torch.rand(8, 3, 32, 32, requires_grad=True)
    config = LossConfig(perceptual=0.5, perceptual_share=0.25)
    term = ReconstructionObjective(config)(result(images), pictures)["perceptual"]
    distance = EfficientNetPerceptualLoss()(images[[2, 6]], pictures[[2, 6]])
    torch.testing.assert_close(term, 0.5 * distance)
    (gradient,) = torch.autograd.grad(term, images)
    assert (gradient.flatten(1).abs().amax(dim=1) > 0).nonzero().flatten().tolist() == [2, 6]


def test_a_network_that_no_loss_needs_is_not_built() -> None:
    objective = ReconstructionObjective(LossConfig(l2=0.0, l1=1.0, perceptual=0.0))
    assert not list(objective.buffers())
    assert objective(result(torch.zeros(2, 3, 8, 8)), torch.zeros(2, 3, 8, 8)).keys() == {
        "pixels",
        "bottleneck",
    }


def test_frozen_networks_do_not_learn() -> None:
    assert not [p for p in ReconstructionObjective(LossConfig()).parameters() if p.requires_grad]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"l2": -1.0}, "loss.l2"),
        ({"l2": 0.0}, "loss"),
        ({"perceptual_network": "vgg16"}, "loss.perceptual_weights"),
        ({"perceptual_share": 0.0}, "loss.perceptual_share"),
        ({"perceptual_share": 1.5}, "loss.perceptual_share"),
    ],
)
def test_bad_settings_are_named(change: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=f"{key}: got"):
        replace(LossConfig(), **change)


def test_the_flow_loss_is_the_squared_error_of_the_velocity() -> None:
    images, noise = torch.rand(3, 3, 4, 4), torch.randn(3, 3, 4, 4)
    times, estimates = torch.tensor([0.5, 0.8, 0.01]), torch.rand(3, 3, 4, 4)
    noisy = images + times[:, None, None, None] * (noise - images)
    clamped = times.clamp(min=0.05)[:, None, None, None]
    velocity, target = (noisy - estimates) / clamped, (noisy - images) / clamped
    estimate = Estimate(images=estimates, times=times, is_direct=torch.zeros(3, dtype=torch.bool))
    loss = FlowLoss(FlowLossConfig(weight=2.0))(estimate, images)
    torch.testing.assert_close(loss, 2 * (velocity - target).square().mean())


def test_rows_are_judged_by_their_kind() -> None:
    images = torch.zeros(4, 3, 32, 32)
    estimates = torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None, None].expand_as(images).contiguous()
    times, is_direct = torch.tensor([0.9, 0.5, 0.9, 0.6]), torch.tensor([True, False, False, True])
    estimate = Estimate(images=estimates, times=times, is_direct=is_direct)
    assert PixelLoss(l2=1.0, l1=0.0)(estimate, images).item() == pytest.approx((1 + 16) / 2)
    expected = (4 / 0.5**2 + 9 / 0.9**2) / 2
    assert FlowLoss(FlowLossConfig())(estimate, images).item() == pytest.approx(expected)
    network = EfficientNetPerceptualLoss()
    config = FlowLossConfig(perceptual=0.5, perceptual_until=0.7)
    expected = 0.5 * network(estimates[1:2], images[1:2])
    distance = PerceptualDistance(network, weight=config.perceptual, until=config.perceptual_until)
    torch.testing.assert_close(distance(estimate, images), expected)
    expected = 0.1 * network(estimates[[0, 3]], images[[0, 3]])
    torch.testing.assert_close(PerceptualDistance(network, weight=0.1)(estimate, images), expected)


def test_a_batch_without_a_kind_of_rows_has_a_loss_of_zero() -> None:
    images, times = torch.zeros(2, 3, 32, 32), torch.ones(2)
    for is_direct, loss in ((False, PixelLoss(l2=1.0, l1=0.0)), (True, FlowLoss(FlowLossConfig()))):
        rows = torch.full((2,), is_direct)
        estimate = Estimate(images=images + 1, times=times, is_direct=rows)
        assert loss(estimate, images).item() == 0
