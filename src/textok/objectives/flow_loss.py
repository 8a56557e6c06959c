"""The loss of a decoder that predicts clean pictures from noisy ones: the squared error of the velocity.

The velocity of the estimate is (noisy - estimate) / t, so its squared error is that of the picture over t squared
(Li and He 2025, arXiv 2511.13720). Below ``min_time`` the weight stays as it is.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from textok.checks import check
from textok.objectives import Estimate


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


class FlowLoss(nn.Module):
    """Squared error of the velocity, a mean over the rows that were decoded from noise."""

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
