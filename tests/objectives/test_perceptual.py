import pytest
import torch
from torch.nn import functional as F

from textok.objectives.perceptual import (
    EfficientNetPerceptualLoss,
    unit_normalised,
    unit_vector_distance,
)


@pytest.fixture(scope="module")
def loss():
    loss = EfficientNetPerceptualLoss()
    loss.chunk = 3
    return loss


def blurred(images, sigma):
    radius = int(3 * sigma) + 1
    taps = torch.exp(-(torch.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    padded = F.pad(images, (radius,) * 4, mode="reflect")
    return F.conv2d(padded, kernel.expand(3, 1, -1, -1), groups=3)


def test_unit_vector_distance_is_the_squared_difference():
    features, expected = torch.randn(2, 5, 3, 4), torch.randn(2, 5, 3, 4)
    difference = unit_normalised(features) - unit_normalised(expected)
    by_hand = difference.square().sum(dim=1).mean(dim=(1, 2))
    torch.testing.assert_close(unit_vector_distance(features, expected), by_hand)


def test_zero_at_identity(loss, pictures):
    assert loss.distances(pictures, pictures).abs().max() < 1e-5


def test_grows_with_blur_noise_and_shift(loss, pictures):
    noise = torch.randn_like(pictures)
    damages = (
        [blurred(pictures, sigma) for sigma in (0.5, 1, 2, 4)],
        [pictures + noise * scale for scale in (0.02, 0.05, 0.15, 0.4)],
        [pictures.roll(shift, 3) for shift in (1, 2, 4)],
    )
    for images in damages:
        values = [loss(damaged, pictures).item() for damaged in images]
        assert values == sorted(values) and values[0] > 1e-4 and values[-1] > 3 * values[0]


def test_gradient_reaches_the_images_only(loss, pictures):
    images = (pictures + 0.1).requires_grad_()
    targets = pictures.clone().requires_grad_()
    loss(images, targets).backward()
    assert images.grad.abs().amax(dim=(1, 2, 3)).min() > 0
    assert targets.grad is None
    assert all(parameter.grad is None for parameter in loss.parameters())


def test_chunked_gradient_equals_autograd(loss, pictures):
    images = (pictures + 0.1 * torch.randn_like(pictures)).requires_grad_()
    weights = torch.tensor([1.0, 0.5, -2.0, 3.0])
    (ours,) = torch.autograd.grad((loss.distances(images, pictures) * weights).sum(), images)
    (expected,) = torch.autograd.grad((loss._distances(images, pictures) * weights).sum(), images)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-3)


def test_weight_keeps_its_meaning(loss, pictures):
    images = blurred(pictures, 1)
    expected = loss(images, pictures)
    repeated = loss(images.repeat(3, 1, 1, 1), pictures.repeat(3, 1, 1, 1))
    torch.testing.assert_close(repeated, expected, atol=1e-6, rtol=1e-5)
    # Tiles meet at new edges, which only positions near them see.
    tiled = loss(images.repeat(1, 1, 2, 2), pictures.repeat(1, 1, 2, 2))
    torch.testing.assert_close(tiled, expected, atol=0, rtol=0.2)


def test_bf16_under_autocast_agrees_with_fp32(loss, pictures):
    images = (pictures + 0.1 * torch.randn_like(pictures)).requires_grad_()
    half = EfficientNetPerceptualLoss(dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        values = [each.distances(images, pictures) for each in (half, loss)]
    assert values[0].dtype == torch.float32
    torch.testing.assert_close(values[0], values[1], atol=0, rtol=0.05)
    grads = [torch.autograd.grad(value.sum(), images)[0].flatten() for value in values]
    assert F.cosine_similarity(grads[0], grads[1], dim=0) > 0.9


def test_keeps_a_batch_of_one_on_an_odd_size(loss):
    images, targets = torch.rand(1, 3, 48, 80), torch.rand(1, 3, 48, 80)
    assert loss.distances(images, targets).shape == (1,)


def test_bad_arguments_are_named(loss, pictures):
    with pytest.raises(ValueError, match=r"targets:"):
        loss.distances(pictures, pictures[:, :, :32, :32])
