import pytest
import torch

from textok.objectives.adversarial import r1_penalty
from textok.objectives.discriminator import (
    Discriminator,
    DiscriminatorConfig,
    blur_downsample,
    minibatch_deviation,
)

TINY = DiscriminatorConfig(base=8, multipliers=(1.0, 2.0, 2.0), group_size=4)


def num_parameters(config):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Discriminator(config).parameters())


@pytest.mark.parametrize("image_size", [256, 512])
def test_published_sizes_have_24m_parameters(image_size):
    assert num_parameters(DiscriminatorConfig.for_resolution(image_size)) == pytest.approx(24e6, rel=0.05)


def test_published_widths():
    assert DiscriminatorConfig.for_resolution(256).multipliers == (1, 2, 4, 4, 4, 4)
    assert DiscriminatorConfig.for_resolution(512).multipliers == (0.5, 1, 2, 4, 4, 4, 4)
    assert DiscriminatorConfig.for_resolution(256) == DiscriminatorConfig()


def test_small_preset_for_icons():
    config = DiscriminatorConfig.small(128)
    assert config.reduction * 4 == 128
    assert 1e6 < num_parameters(config) < 3e6


@pytest.mark.parametrize("size", [(32, 32), (32, 48), (8, 64)])
def test_any_divisible_size(size):
    assert Discriminator(TINY)(torch.rand(3, 3, *size)).shape == (3,)


def test_gradients_reach_images_and_all_parameters():
    discriminator, images = Discriminator(TINY), torch.rand(4, 3, 32, 32, requires_grad=True)
    discriminator(images).sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in discriminator.parameters())


def test_blur_downsample_is_the_binomial_filter():
    x = torch.randn(1, 2, 8, 6)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = torch.outer(taps, taps).expand(2, 1, 4, 4)
    expected = torch.nn.functional.conv2d(x, kernel, stride=2, padding=1, groups=2)
    torch.testing.assert_close(blur_downsample(x), expected)


def test_minibatch_deviation_by_hand():
    x = torch.zeros(4, 2, 3, 3)
    x[2:] = 2.0  # groups are (0, 2) and (1, 3): values 0 and 2, deviation 1
    torch.testing.assert_close(minibatch_deviation(x, group_size=2), torch.ones(4, 1, 3, 3))
    assert minibatch_deviation(x[:1], group_size=4).max() < 1e-3
    assert minibatch_deviation(torch.rand(3, 2, 4, 4), group_size=2).shape == (3, 1, 4, 4)


def test_bf16_autocast_with_r1_in_fp32():
    discriminator, images = Discriminator(TINY), torch.rand(4, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        penalty = r1_penalty(discriminator, images)
        (discriminator(images).mean() + penalty).backward()
    torch.testing.assert_close(penalty, r1_penalty(discriminator, images))
    assert all(torch.isfinite(p.grad).all() for p in discriminator.parameters())


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"images: got height and width \(20, 32\)"):
        Discriminator(TINY)(torch.rand(1, 3, 20, 32))
    with pytest.raises(ValueError, match="stem_stride:"):
        DiscriminatorConfig(stem_stride=3)
    with pytest.raises(ValueError, match="multipliers:"):
        DiscriminatorConfig(multipliers=())
    with pytest.raises(ValueError, match="image_size:"):
        DiscriminatorConfig.for_resolution(4)
