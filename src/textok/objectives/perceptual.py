"""Perceptual distances between images and their reconstructions, as losses: frozen networks, gradients to images only.

A distance compares unit-normalised feature vectors position by position, as LPIPS does (Zhang et al., 2018, arXiv
1801.03924, section 3). Here the mean runs over positions, stages and batch, so a weight keeps its meaning at any
resolution and batch size.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from textok.objectives.efficientnet_lite0 import EfficientNetLite0

Images = Float[Tensor, "b 3 h w"]
Features = Float[Tensor, "b c h w"]
EPSILON = 1e-8


def unit_normalised(features: Features) -> Features:
    """Feature vectors scaled to length one at each position, in fp32."""
    features = features.float()
    return features * torch.rsqrt(features.square().sum(dim=1, keepdim=True) + EPSILON)


def unit_vector_distance(features: Features, expected: Features) -> Float[Tensor, "b"]:
    """Mean over positions of |u - v|^2 for the unit-normalised feature vectors u and v, in fp32, within [0, 4].

    Written as 2 - 2 u.v, which touches the feature maps half as often as the difference does.
    """
    features, expected = features.float(), unit_normalised(expected)
    length = torch.rsqrt(features.square().sum(dim=1) + EPSILON)
    return 2 - 2 * ((features * expected).sum(dim=1) * length).mean(dim=(1, 2))


class _DistancesWithGradient(torch.autograd.Function):
    """Per-image distances whose gradient is taken in the forward pass, a few images at a time.

    Each distance depends on its own image alone, so all that backward needs is d distance_i / d image_i. Activations
    then live for one chunk only: on a CPU they stay near the cache, on any device memory does not grow with the batch.
    """

    @staticmethod
    def forward(ctx, images: Tensor, targets: Tensor, distances: Callable, chunk: int) -> Tensor:
        values, gradients = [], []
        for x, y in zip(images.split(chunk), targets.split(chunk), strict=True):
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                value = distances(x, y)
            gradients.append(torch.autograd.grad(value, x, torch.ones_like(value))[0])
            values.append(value.detach())
        ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(values)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[:, None, None, None].to(gradient.dtype), None, None, None


class PerceptualLoss(nn.Module, ABC):
    """A distance between the features that a frozen network finds in two images, called by the network's ``name``.

    The network computes in ``dtype``, also under autocast; distances are always fp32.
    """

    name: str
    chunk: int = 16  # images that go through the network at a time on a CPU

    def __init__(self, *, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, images: Images, targets: Images) -> Float[Tensor, ""]:
        """Mean distance over the batch; images and targets in [-1, 1]."""
        return self.distances(images, targets).mean()

    def distances(self, images: Images, targets: Float[Tensor, "..."]) -> Float[Tensor, "b"]:
        """Distance of each image to its target; gradients flow to ``images`` only, first order.

        Raises:
            ValueError: when the shapes of images and targets differ.
        """
        if images.shape != targets.shape:
            raise ValueError(
                f"targets: got shape {tuple(targets.shape)}, expected that of the images, {tuple(images.shape)}"
            )
        # Elsewhere launches cost more than memory.
        chunk = self.chunk if images.device.type == "cpu" else max(1, len(images))
        targets = targets.detach()
        if torch.is_grad_enabled() and images.requires_grad:
            return _DistancesWithGradient.apply(images, targets, self._distances, chunk)
        pairs = zip(images.split(chunk), targets.split(chunk), strict=True)
        return torch.cat([self._distances(x, y) for x, y in pairs])

    def _distances(self, images: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            with torch.no_grad():
                expected = self._features(targets)
            return self._compare(self._features(images), expected)

    @abstractmethod
    def _features(self, images: Tensor) -> list[Tensor]:
        """Feature maps (b c h w) of images in [-1, 1], from fine to coarse, computed in ``dtype``."""

    @abstractmethod
    def _compare(self, features: list[Tensor], expected: list[Tensor]) -> Tensor:
        """Distance (b) of the features of each image to those of its target, in fp32."""


class EfficientNetPerceptualLoss(PerceptualLoss):
    """Distance over stages 2 to 5 of EfficientNet-lite0, the mean of the stages, within [0, 4].

    They have 24, 40, 80 and 112 channels at 1/4, 1/8, 1/16 and 1/16. The first stage is nearly pixels again (16
    channels for 2 x 2 pixels), which the pixel loss covers, and the dearest to compare.
    bf16 as its ``dtype`` pays on processors and GPUs that have it.
    """

    name = "perceptual_effnet_lite0"

    def __init__(self, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(dtype=dtype)
        network = EfficientNetLite0.from_package(num_stages=5)
        self.network = network.to(dtype).to(memory_format=torch.channels_last)  # pyrefly: ignore[no-matching-overload]

    def _features(self, images: Tensor) -> list[Tensor]:
        return self.network(images.to(self.dtype, memory_format=torch.channels_last))[1:]

    def _compare(self, features: list[Tensor], expected: list[Tensor]) -> Tensor:
        per_stage = [unit_vector_distance(f, e) for f, e in zip(features, expected, strict=True)]
        return torch.stack(per_stage).mean(dim=0)
