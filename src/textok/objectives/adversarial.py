"""The GAN loss of tokenizer training: losses, R1, an adaptive weight, and the object that puts them together.

Weights as known of TexTok: adversarial 0.1, LeCam 1e-4, gradient penalty 10.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from textok.checks import check, check_choice

Logits = Float[Tensor, "_"]
Scalar = Float[Tensor, ""]
Images = Float[Tensor, "b 3 h w"]
ImagesToLogits = Callable[[Tensor], Tensor]
R1_REFERENCE_PIXELS = 256 * 256


def generator_non_saturating(fakes: Logits) -> Scalar:
    """Mean softplus(-logit) over the batch (Goodfellow et al., 2014), one logit per image at any size."""
    return F.softplus(-fakes.float()).mean()


def discriminator_non_saturating(reals: Logits, fakes: Logits) -> Scalar:
    """Mean softplus(-real) plus mean softplus(fake): 2 log 2 for a discriminator that always answers 0."""
    return F.softplus(-reals.float()).mean() + F.softplus(fakes.float()).mean()


def generator_hinge(fakes: Logits) -> Scalar:
    """Minus the mean logit (Lim and Ye, 2017, arXiv 1705.02894)."""
    return -fakes.float().mean()


def discriminator_hinge(reals: Logits, fakes: Logits) -> Scalar:
    """Mean relu(1 - real) plus mean relu(1 + fake): 2 for a discriminator that always answers 0."""
    return F.relu(1 - reals.float()).mean() + F.relu(1 + fakes.float()).mean()


LOSSES = {
    "non_saturating": (generator_non_saturating, discriminator_non_saturating),
    "hinge": (generator_hinge, discriminator_hinge),
}


def r1_penalty(discriminator: ImagesToLogits, images: Images) -> Scalar:
    """Half the squared norm of the discriminator's gradient at real images (R1, Mescheder et al., 2018), in fp32.

    Published: 1/2 E |grad|^2, summed over pixels. Of the same discriminator at twice the resolution each pixel's
    gradient is a quarter and there are four times as many, so that sum falls as 1 / pixels. It is multiplied here by
    pixels / 256^2: at 256 px the published value, at others the weight keeps its meaning. Mean over the batch.
    """
    with torch.autocast(images.device.type, enabled=False), torch.enable_grad():
        images = images.detach().float().requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    pixels = images.shape[2] * images.shape[3]
    return gradient.square().sum(dim=(1, 2, 3)).mean() * (0.5 * pixels / R1_REFERENCE_PIXELS)


def adaptive_weight(
    reconstruction_loss: Scalar, adversarial_loss: Scalar, *, last_layer: Tensor, maximum: float = 1e4
) -> Scalar:
    """Ratio of the two losses' gradient norms at the decoder's last layer (VQGAN, Esser et al., 2021, equation 7).

    Scaling both losses by resolution or batch leaves it as it is. Detached; both graphs are kept for backward.
    """
    norms = [
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].float().norm()
        for loss in (reconstruction_loss, adversarial_loss)
    ]
    return (norms[0] / (norms[1] + 1e-4)).clamp(max=maximum).detach()


class LeCam(nn.Module):
    """LeCam regularisation of a discriminator (Tseng et al., 2021, arXiv 2104.03310, equation 5).

    Mean squared distance of real logits to the running mean of fake ones, and of fake logits to that of real ones.
    The anchors are running means over batches and processes, kept in the state dict; the first batch sets them.
    Resolution, batch size and number of processes do not change the scale.
    """

    anchors: Float[Tensor, "2"]
    updates: Tensor
    decay = 0.99  # share of an anchor that stays at each call

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("anchors", torch.zeros(2))  # real, fake
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def forward(self, reals: Logits, fakes: Logits) -> Scalar:
        """Move the anchors by these logits, then return the penalty; gradients flow to the logits only."""
        reals, fakes = reals.float(), fakes.float()
        self.update(reals, fakes)
        real_anchor, fake_anchor = self.anchors.clone()
        return (reals - fake_anchor).square().mean() + (fakes - real_anchor).square().mean()

    @torch.no_grad()
    def update(self, reals: Logits, fakes: Logits) -> None:
        """Move the anchors towards the means of these logits, over all processes; not by NaN or infinity."""
        means = torch.stack([reals.float().mean(), fakes.float().mean()])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(means)
            means = means / dist.get_world_size()
        finite = means.isfinite().all()
        moved = torch.where(self.updates == 0, means, torch.lerp(means, self.anchors, self.decay))
        self.anchors.copy_(torch.where(finite, moved, self.anchors))
        self.updates += finite


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Within, ``module`` runs without gradients to its parameters, nor their cost; inputs get theirs."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


def _without_ddp(discriminator: nn.Module) -> nn.Module:
    """The discriminator inside the wrapper: a pass without a synchronised backward must not go through the wrapper."""
    return discriminator.module if isinstance(discriminator, DistributedDataParallel) else discriminator


def _plain_forward(discriminator: nn.Module) -> ImagesToLogits:
    """The forward that the class defines: accelerate puts autocast into the instance's, and R1 is in fp32."""
    discriminator = _without_ddp(discriminator)
    return partial(type(discriminator).forward, discriminator)


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """The GAN terms and when they act.

    Attributes:
        loss: "non_saturating" or "hinge".
        weight: of the generator's GAN loss, beside a reconstruction weight of 1.
        lecam_weight: of the LeCam term in the discriminator's loss; 0 turns it off.
        r1_weight: of the R1 term in the discriminator's loss (gamma); 0 turns it off.
        r1_every: R1 is computed every so many steps, then multiplied by that number: the same on average.
        start_step: the discriminator trains from this step on.
        discriminator_warmup_steps: so many steps later its judgement counts in the generator's loss.
        adaptive: multiply ``weight`` by ``adaptive_weight``.
    """

    loss: Literal["non_saturating", "hinge"] = "non_saturating"
    weight: float = 0.1
    lecam_weight: float = 1e-4
    r1_weight: float = 10.0
    r1_every: int = 16
    start_step: int = 80_000
    discriminator_warmup_steps: int = 0
    adaptive: bool = False

    def __post_init__(self) -> None:
        check_choice(self, "adversarial", loss=tuple(LOSSES))
        check(self, "adversarial", "weight", "lecam_weight", "r1_weight", at_least=0)
        check(self, "adversarial", "start_step", "discriminator_warmup_steps", at_least=0)
        check(self, "adversarial", "r1_every", at_least=1)

    def trains_discriminator(self, step: int) -> bool:
        """Whether the discriminator takes a training step at ``step`` (counted from 0)."""
        return step >= self.start_step

    def counts_in_generator(self, step: int) -> bool:
        """Whether the generator's loss has its GAN term at ``step``."""
        return step >= self.start_step + self.discriminator_warmup_steps

    def computes_r1(self, step: int) -> bool:
        """Whether the discriminator's loss has its R1 term at ``step``."""
        since = step - self.start_step
        return self.r1_weight > 0 and since >= 0 and since % self.r1_every == 0


class AdversarialObjective(nn.Module):
    """Both sides of the GAN loss for one step; its state is LeCam's anchors."""

    def __init__(self, config: AdversarialConfig) -> None:
        super().__init__()
        self.config = config
        self.lecam = LeCam()

    def generator_loss(self, discriminator: nn.Module, fakes: Images) -> Scalar:
        """The generator's GAN loss, not weighted; no gradients to the discriminator's parameters."""
        generator_side, _ = LOSSES[self.config.loss]
        discriminator = _without_ddp(discriminator)
        with frozen(discriminator):
            return generator_side(discriminator(fakes))

    def generator_weight(
        self, reconstruction_loss: Scalar, adversarial_loss: Scalar, *, last_layer: Tensor
    ) -> Scalar:
        """What the generator's GAN loss is multiplied with: ``config.weight``, times the adaptive ratio if it is on."""
        if not self.config.adaptive:
            return adversarial_loss.new_tensor(self.config.weight)
        ratio = adaptive_weight(reconstruction_loss, adversarial_loss, last_layer=last_layer)
        return self.config.weight * ratio

    def discriminator_terms(
        self, discriminator: nn.Module, reals: Images, fakes: Float[Tensor, "n 3 h w"], *, step: int
    ) -> dict[str, Scalar]:
        """The weighted terms of the discriminator's loss at ``step``: their sum is what to minimise.

        They are "discriminator", "lecam" and, at steps where it is due, "r1" (already times ``r1_every``). Each is a
        mean over images of one number per picture, and R1 is scaled by pixels (see ``r1_penalty``), so the weights
        keep their meaning at any resolution and batch size.
        """
        config, (_, discriminator_side) = self.config, LOSSES[self.config.loss]
        logits = discriminator(reals), discriminator(fakes.detach())
        terms = {"discriminator": discriminator_side(*logits)}
        if config.lecam_weight > 0:
            terms["lecam"] = config.lecam_weight * self.lecam(*logits)
        if config.computes_r1(step):
            penalty = r1_penalty(_plain_forward(discriminator), reals)
            terms["r1"] = config.r1_weight * config.r1_every * penalty
        return terms
