"""LPIPS with the published weights, read from a safetensors file that the user provides (Zhang et al., 2018).

The file holds the convolutions of torchvision's VGG16 or AlexNet, named ``features.N.weight`` and ``features.N.bias``,
and the five linear heads of LPIPS v0.1, named ``lin0`` to ``lin4``, each with one weight per channel (in any shape,
such as (1, channels, 1, 1)); ``lin0.model.1.weight``, the name in the published files, is understood as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from textok.objectives.perceptual import PerceptualLoss, unit_normalised

# The published input scale, for images in [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """Convolutions with a ReLU each, of which LPIPS reads five.

    Attributes:
        convolutions: position in torchvision's ``features`` -> width, kernel, stride and padding; before one that is
            three places behind the other lies a max pooling.
        read: positions of those whose ReLUs are read.
        pool_kernel: side of the max pooling; its stride is 2.
        published_head_sums: the sums of the published heads (LPIPS v0.1), which tell them from others.
    """

    convolutions: dict[int, tuple[int, int, int, int]]
    read: tuple[int, ...]
    pool_kernel: int
    published_head_sums: tuple[float, ...]


_VGG_BLOCKS = {(0, 2): 64, (5, 7): 128, (10, 12, 14): 256, (17, 19, 21, 24, 26, 28): 512}
VGG16 = Backbone(
    convolutions={index: (width, 3, 1, 1) for block, width in _VGG_BLOCKS.items() for index in block},
    read=(2, 7, 14, 21, 28),
    pool_kernel=2,
    published_head_sums=(6.92599, 8.85833, 17.51501, 51.52132, 47.03485),
)
ALEXNET = Backbone(
    convolutions={
        0: (64, 11, 4, 2),
        3: (192, 5, 1, 2),
        6: (384, 3, 1, 1),
        8: (256, 3, 1, 1),
        10: (256, 3, 1, 1),
    },
    read=(0, 3, 6, 8, 10),
    pool_kernel=3,
    published_head_sums=(2.34953, 16.14303, 39.26844, 27.19718, 20.31718),
)
BACKBONES = {"vgg16": VGG16, "alexnet": ALEXNET}


def expected_shapes(backbone: Backbone) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that a weights file must hold; heads are named ``lin0`` to ``lin4``."""
    shapes: dict[str, tuple[int, ...]] = {}
    fan_in = 3
    for index, (width, kernel, _, _) in backbone.convolutions.items():
        shapes |= {
            f"features.{index}.weight": (width, fan_in, kernel, kernel),
            f"features.{index}.bias": (width,),
        }
        fan_in = width
    widths = [backbone.convolutions[index][0] for index in backbone.read]
    return shapes | {f"lin{number}": (width,) for number, width in enumerate(widths)}


def read_weights(path: str | Path, *, backbone: Backbone) -> dict[str, Tensor]:
    """Read and check a weights file; errors are those of :class:`LPIPS`."""
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
    sums = torch.stack([weights[f"lin{number}"].double().sum() for number in range(5)])
    published = torch.tensor(backbone.published_head_sums, dtype=torch.float64)
    return torch.allclose(sums, published, rtol=1e-3)


class LPIPS(PerceptualLoss):
    """Learned perceptual image patch similarity, frozen; gradients flow to the images only.

    ``name`` is "lpips_vgg16" or "lpips_alexnet" with the published heads, "perceptual_..._other_heads" with others.

    As published, the five maps are summed and the mean runs over positions and batch, so a weight keeps its meaning at
    any resolution and batch size (a position sees the same number of pixels at any resolution).

    The file at ``path`` (see the head of this module) holds the network ``net``, "vgg16" or "alexnet".

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
        features, before = [], 0
        for index, (_, _, stride, padding) in self.backbone.convolutions.items():
            if index - before == 3:
                x = F.max_pool2d(x, self.backbone.pool_kernel, stride=2)
            weight, bias = (self.get_buffer(f"features_{index}_{part}") for part in ("weight", "bias"))
            x, before = F.relu(F.conv2d(x, weight, bias, stride=stride, padding=padding)), index
            if index in self.backbone.read:
                features.append(x)
        return features

    def _compare(self, features: list[Tensor], expected: list[Tensor]) -> Tensor:
        total = features[0].new_zeros(len(features[0]), dtype=torch.float32)
        for number, (feature, other) in enumerate(zip(features, expected, strict=True)):
            squares = (unit_normalised(feature) - unit_normalised(other)).square().mean(dim=(2, 3))
            total = total + squares @ self.get_buffer(f"lin{number}")
        return total
