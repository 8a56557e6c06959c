"""LPIPS with the published weights, read from a safetensors file that the user provides (Zhang et al., 2018).

The file holds the convolutions of torchvision's VGG16 or AlexNet, named ``features.N.weight`` and
``features.N.bias``, and the five linear heads of LPIPS v0.1, named ``lin0`` to ``lin4``, each with one weight per
channel (any shape with so many elements, such as (1, channels, 1, 1)); ``lin0.model.1.weight``, the name in the
published files, is understood as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from textok.objectives.perceptual import PerceptualLoss, unit_normalised

# The published input scale, for images in [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


class ConvSpec(NamedTuple):
    """One convolution followed by ReLU, at position ``index`` of torchvision's ``features``."""

    index: int
    in_channels: int
    out_channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """Five slices of convolutions with max pooling before some of them; LPIPS reads the end of each slice.

    The sums of the published heads (LPIPS v0.1) tell them from others.
    """

    slices: tuple[tuple[ConvSpec, ...], ...]
    pool_kernel: int
    pooled_before: tuple[bool, ...]
    published_head_sums: tuple[float, ...]


def _chain(*specs: tuple[int, ...]) -> tuple[ConvSpec, ...]:
    return tuple(ConvSpec(*spec) for spec in specs)


VGG16 = Backbone(
    slices=(
        _chain((0, 3, 64), (2, 64, 64)),
        _chain((5, 64, 128), (7, 128, 128)),
        _chain((10, 128, 256), (12, 256, 256), (14, 256, 256)),
        _chain((17, 256, 512), (19, 512, 512), (21, 512, 512)),
        _chain((24, 512, 512), (26, 512, 512), (28, 512, 512)),
    ),
    pool_kernel=2,
    pooled_before=(False, True, True, True, True),
    published_head_sums=(6.92599, 8.85833, 17.51501, 51.52132, 47.03485),
)
ALEXNET = Backbone(
    slices=(
        _chain((0, 3, 64, 11, 4, 2)),
        _chain((3, 64, 192, 5, 1, 2)),
        _chain((6, 192, 384)),
        _chain((8, 384, 256)),
        _chain((10, 256, 256)),
    ),
    pool_kernel=3,
    pooled_before=(False, True, True, False, False),
    published_head_sums=(2.34953, 16.14303, 39.26844, 27.19718, 20.31718),
)
BACKBONES = {"vgg16": VGG16, "alexnet": ALEXNET}


def expected_shapes(backbone: Backbone) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that a weights file must hold; heads are named ``lin0`` to ``lin4``."""
    shapes: dict[str, tuple[int, ...]] = {}
    for number, specs in enumerate(backbone.slices):
        for index, inner, outer, kernel, *_ in specs:
            shapes[f"features.{index}.weight"] = (outer, inner, kernel, kernel)
            shapes[f"features.{index}.bias"] = (outer,)
        shapes[f"lin{number}"] = (specs[-1].out_channels,)
    return shapes


def read_weights(path: str | Path, *, backbone: Backbone) -> dict[str, Tensor]:
    """Read and check a weights file (see the head of this module for its contents).

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is not safetensors, or a tensor is missing or has another shape.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such LPIPS weights file; expected a .safetensors file")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path}: not readable ({error}), expected a safetensors file with LPIPS weights"
        ) from error
    return {name: _checked(tensors, name, shape, path) for name, shape in expected_shapes(backbone).items()}


def _checked(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...], path: Path) -> Tensor:
    is_head = name.startswith("lin")
    keys = (name, f"{name}.weight", f"{name}.model.1.weight") if is_head else (name,)
    tensor = next((tensors[key] for key in keys if key in tensors), None)
    if tensor is None:
        raise ValueError(
            f"{path}: tensor {name} is missing; expected shape {shape} (names as in textok.objectives.lpips)"
        )
    if tensor.numel() != prod(shape) if is_head else tuple(tensor.shape) != shape:
        raise ValueError(f"{path}: tensor {name}: got shape {tuple(tensor.shape)}, expected {shape}")
    return tensor.float().reshape(shape)


def has_published_heads(weights: Mapping[str, Tensor], *, backbone: Backbone) -> bool:
    """Whether the heads are the published ones, up to storage in 16 bits."""
    sums = torch.stack([weights[f"lin{number}"].double().sum() for number in range(len(backbone.slices))])
    published = torch.tensor(backbone.published_head_sums, dtype=torch.float64)
    return torch.allclose(sums, published, rtol=1e-3)


class LPIPS(PerceptualLoss):
    """Learned perceptual image patch similarity, frozen; gradients flow to the images only.

    ``name`` is "lpips_vgg16" or "lpips_alexnet" with the published heads, "perceptual_..._other_heads" with
    others.

    As published, the five slices are summed and the mean runs over positions and batch, so a weight keeps its
    meaning at any resolution and batch size (a position sees the same number of pixels at any resolution).

    Args:
        path: safetensors file with the published weights (see the head of this module).
        net: the network in it, "vgg16" or "alexnet".
        dtype: the dtype of the network, also under autocast; distances are always fp32.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for an unknown ``net``, or a file that does not hold its weights.
    """

    def __init__(self, path: str | Path, *, net: str = "vgg16", dtype: torch.dtype = torch.float32) -> None:
        super().__init__(dtype=dtype)
        if net not in BACKBONES:
            raise ValueError(f"net: got {net!r}, expected {' or '.join(BACKBONES)}")
        self.backbone = BACKBONES[net]
        weights = read_weights(path, backbone=self.backbone)
        published = has_published_heads(weights, backbone=self.backbone)
        self.name = f"lpips_{net}" if published else f"perceptual_{net}_other_heads"
        for key, tensor in weights.items():
            tensor = tensor if key.startswith("lin") else tensor.to(dtype)
            self.register_buffer(key.replace(".", "_"), tensor, persistent=False)
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None], persistent=False)

    def _features(self, images: Tensor) -> list[Tensor]:
        x = ((images.float() - self.shift) / self.scale).to(self.dtype)
        features = []
        for specs, pooled in zip(self.backbone.slices, self.backbone.pooled_before, strict=True):
            x = F.max_pool2d(x, self.backbone.pool_kernel, stride=2) if pooled else x
            for spec in specs:
                x = self._convolve(x, spec)
            features.append(x)
        return features

    def _compare(self, features: list[Tensor], expected: list[Tensor]) -> Tensor:
        total = features[0].new_zeros(len(features[0]), dtype=torch.float32)
        for number, (feature, other) in enumerate(zip(features, expected, strict=True)):
            squares = (unit_normalised(feature) - unit_normalised(other)).square().mean(dim=(2, 3))
            total = total + squares @ self.get_buffer(f"lin{number}")
        return total

    def _convolve(self, x: Tensor, spec: ConvSpec) -> Tensor:
        weight = self.get_buffer(f"features_{spec.index}_weight")
        bias = self.get_buffer(f"features_{spec.index}_bias")
        return F.relu(F.conv2d(x, weight, bias, stride=spec.stride, padding=spec.padding))
