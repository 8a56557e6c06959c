"""What a reconstruction is judged by: one module that owns the losses and their frozen networks.

A loss is a module called with an ``Estimate`` and the pictures; it returns one weighted scalar. To add one, write it
in a file of its own, give ``LossConfig`` its settings, and build it in ``LossConfig.build``.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from textok.checks import check
from textok.objectives import Estimate, TrainingPass
from textok.objectives.lpips import LPIPS
from textok.objectives.perceptual import EfficientNetPerceptualLoss, PerceptualLoss


@dataclass(frozen=True, kw_only=True)
class FlowLossConfig:
    """Weights of the rows that a flow decoder sees through noise; a direct decoder has none.

    Attributes:
        weight: of the velocity's squared error.
        min_time: times below count as this one.
        perceptual: weight of the perceptual distance of the estimates.
        perceptual_until: the distance counts up to this time; above it every estimate is blurred.
    """

    weight: float = 1.0
    min_time: float = 0.05
    perceptual: float = 0.1
    perceptual_until: float = 0.7

    def __post_init__(self) -> None:
        check(self, "loss.flow", "weight", "perceptual", at_least=0)
        check(self, "loss.flow", "min_time", above=0, at_most=1)
        check(self, "loss.flow", "perceptual_until", at_least=0, at_most=1)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What a reconstruction is judged by. Every loss is a mean, so a weight means the same at any size.

    Attributes:
        l2, l1: weights of the pixel losses, means over all pixel values on [-1, 1].
        perceptual: weight of the perceptual distance, a mean over positions, stages and pictures.
        perceptual_share: of a batch's pictures, the share that the perceptual distance sees; in (0, 1].
        perceptual_network: "effnet_lite0" (packaged), or "vgg16" / "alexnet" with ``perceptual_weights``.
        perceptual_weights: safetensors file with the LPIPS network; needed for vgg16 and alexnet only.
        flow: the losses of rows that a flow decoder sees through noise; those above are of its direct rows; None for a
            direct decoder.
    """

    l2: float = 1.0
    l1: float = 0.0
    perceptual: float = 0.1
    perceptual_share: float = 1.0
    perceptual_network: Literal["effnet_lite0", "vgg16", "alexnet"] = "effnet_lite0"
    perceptual_weights: str | None = None
    flow: FlowLossConfig | None = None

    def __post_init__(self) -> None:
        check(self, "loss", "l2", "l1", "perceptual", at_least=0)
        check(self, "loss", "perceptual_share", above=0, at_most=1)
        if self.l2 + self.l1 <= 0:
            raise ValueError("loss: got 0 for both l2 and l1, expected a pixel loss")
        if (self.perceptual_network == "effnet_lite0") == (self.perceptual_weights is not None):
            raise ValueError(
                f"loss.perceptual_weights: got {self.perceptual_weights!r} for {self.perceptual_network}, "
                "expected a file for vgg16 and alexnet, none for effnet_lite0"
            )

    def build(self, *, dtype: torch.dtype = torch.float32) -> dict[str, nn.Module]:
        """The losses by the names that logs give them; frozen networks compute in ``dtype``."""
        losses: dict[str, nn.Module] = {"pixels": PixelLoss(l2=self.l2, l1=self.l1)}
        of_noisy = self.flow.perceptual if self.flow else 0.0
        network = self.build_perceptual_network(dtype=dtype) if self.perceptual or of_noisy else None
        if network is not None and self.perceptual:
            losses["perceptual"] = PerceptualDistance(
                network, weight=self.perceptual, share=self.perceptual_share
            )
        if self.flow:
            losses["flow"] = FlowLoss(self.flow)
            if network is not None and of_noisy:
                until = self.flow.perceptual_until
                losses["flow_perceptual"] = PerceptualDistance(
                    network, weight=of_noisy, share=self.perceptual_share, until=until
                )
        return losses

    def build_perceptual_network(self, *, dtype: torch.dtype) -> PerceptualLoss:
        """The frozen network of the perceptual distance."""
        if self.perceptual_weights is None:
            return EfficientNetPerceptualLoss(dtype=dtype)
        return LPIPS(self.perceptual_weights, net=self.perceptual_network, dtype=dtype)


class ReconstructionObjective(nn.Module):
    """Every loss of a tokenizer's training pass but those of the discriminator."""

    def __init__(self, config: LossConfig, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.losses = nn.ModuleDict(config.build(dtype=dtype))

    def forward(self, result: TrainingPass, images: Float[Tensor, "b 3 h w"]) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms by name; their sum is what to minimise."""
        terms = {name: loss(result.estimate, images) for name, loss in self.losses.items()}
        return terms | {"bottleneck": result.bottleneck_loss}


class PixelLoss(nn.Module):
    """Squared and absolute error, each a mean over batch, channels and pixels, in fp32."""

    def __init__(self, *, l2: float, l1: float) -> None:
        super().__init__()
        self.l2, self.l1 = l2, l1

    def forward(self, estimate: Estimate, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, ""]:
        """Weighted sum of both errors over the rows decoded without noise; 0 without such rows."""
        total, rows = images.new_zeros(()), estimate.direct_rows()
        estimates, targets = estimate.images.float(), images.float()
        if rows is not None:
            estimates, targets = estimates[rows], targets[rows]
        if not len(estimates):
            return total
        if self.l2:
            total = total + self.l2 * F.mse_loss(estimates, targets)
        if self.l1:
            total = total + self.l1 * F.l1_loss(estimates, targets)
        return total


class PerceptualDistance(nn.Module):
    """A perceptual distance, times its weight, of the rows decoded without noise, or from noise ``until`` a time.

    It sees a ``share`` of these rows, evenly spread: rows may lie in the order of their captions' length.
    """

    def __init__(
        self, network: PerceptualLoss, *, weight: float, share: float = 1.0, until: float | None = None
    ) -> None:
        super().__init__()
        self.network, self.weight, self.share, self.until = network, weight, share, until

    def forward(self, estimate: Estimate, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, ""]:
        """The weighted mean over these rows; 0 without such rows."""
        rows = estimate.direct_rows() if self.until is None else estimate.noisy_rows(until=self.until)
        if self.share < 1:
            rows = spread(
                torch.arange(len(images), device=images.device) if rows is None else rows, self.share
            )
        if rows is None:
            return self.weight * self.network(estimate.images, images)
        if not len(rows):
            return images.new_zeros(())
        return self.weight * self.network(estimate.images[rows], images[rows])


def spread(rows: Int[Tensor, "b"], share: float) -> Int[Tensor, "n"]:
    """A share of some rows, rounded up, at even distances."""
    count = math.ceil(share * len(rows))
    return rows[((torch.arange(count, device=rows.device) + 0.5) * len(rows) / max(count, 1)).long()]


class FlowLoss(nn.Module):
    """Squared error of the velocity, a mean over the rows that were decoded from noise.

    The velocity of the estimate is (noisy - estimate) / t, so its squared error is that of the picture over t squared
    (Li and He 2025, arXiv 2511.13720). Below ``min_time`` the weight stays as it is.
    """

    def __init__(self, config: FlowLossConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, estimate: Estimate, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, ""]:
        """The weighted mean; 0 without such rows."""
        rows = estimate.noisy_rows()
        if estimate.times is None or not len(rows):
            return images.new_zeros(())
        times = estimate.times[rows].clamp(min=self.config.min_time)
        errors = (estimate.images[rows].float() - images[rows].float()).square().mean(dim=(1, 2, 3))
        return self.config.weight * (errors / times.square()).mean()
