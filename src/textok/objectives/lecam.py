"""LeCam regularisation of a discriminator (Tseng et al., 2021, arXiv 2104.03310, equation 5)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def mean_over_processes(value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Mean of ``value`` over the processes of ``torch.distributed``; ``value`` itself when there is one process."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    value = value.clone()
    torch.distributed.all_reduce(value)
    return value / torch.distributed.get_world_size()


class LeCam(nn.Module):
    """Mean squared distance of real logits to the running mean of fake ones, and of fake logits to that of
    real ones.

    The anchors are running means over batches and processes, kept in the state dict; the first batch sets
    them. A mean over the batch of one logit an image: resolution, batch size and number of processes do not
    change the scale.

    Args:
        decay: share of an anchor that stays at each call.

    Raises:
        ValueError: when ``decay`` is outside [0, 1).
    """

    anchors: Float[Tensor, "2"]
    updates: Tensor

    def __init__(self, *, decay: float = 0.99) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay: expected a number in [0, 1), got {decay}")
        self.decay = decay
        self.register_buffer("anchors", torch.zeros(2))  # real, fake
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def forward(self, real_logits: Float[Tensor, "b"], fake_logits: Float[Tensor, "n"]) -> Float[Tensor, ""]:
        """Move the anchors by these logits, then return the penalty; gradients flow to the logits only."""
        real_logits, fake_logits = real_logits.float(), fake_logits.float()
        self.update(real_logits, fake_logits)
        real_anchor, fake_anchor = self.anchors.clone()
        return (real_logits - fake_anchor).square().mean() + (fake_logits - real_anchor).square().mean()

    @torch.no_grad()
    def update(self, real_logits: Float[Tensor, "b"], fake_logits: Float[Tensor, "n"]) -> None:
        """Move the anchors towards the means of these logits, over all processes; not by NaN or infinity."""
        means = mean_over_processes(torch.stack([real_logits.float().mean(), fake_logits.float().mean()]))
        finite = means.isfinite().all()
        moved = torch.where(self.updates == 0, means, torch.lerp(means, self.anchors, self.decay))
        self.anchors.copy_(torch.where(finite, moved, self.anchors))
        self.updates += finite
