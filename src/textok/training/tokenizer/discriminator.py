"""The GAN side of tokenizer training: a discriminator with an optimizer of its own."""

from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor
from torch.optim import AdamW

from textok.objectives.adversarial import AdversarialConfig, AdversarialObjective
from textok.objectives.discriminator import Discriminator, DiscriminatorConfig
from textok.training.optimizers import OptimizerConfig, learning_rate, set_learning_rate
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.step import total


class NoDiscriminator:
    """Stands where a training has no GAN terms: it has no loss and moves nothing."""

    def generator_term(
        self, images: Tensor, terms: dict[str, Tensor], *, step: int, last_layer: Tensor
    ) -> dict[str, Float[Tensor, ""]]:
        """No term."""
        return {}

    def accumulate(
        self, reals: Tensor, fakes: Tensor, *, step: int, share: float, last: bool
    ) -> dict[str, Float[Tensor, ""]]:
        """No term."""
        return {}

    def gradient_norms(self, *, step: int) -> dict[str, Float[Tensor, ""]]:
        """No norm."""
        return {}

    def step(self, *, step: int) -> None:
        """Move nothing."""

    def zero_grad(self) -> None:
        """There is no gradient."""

    def state_dict(self) -> dict[str, Any]:
        """No state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """There is nothing to load."""


class DiscriminatorTraining(NoDiscriminator):
    """Judges reconstructions from its start step on; has no term before.

    Args:
        config: the GAN terms and when they act.
        network: widths of the discriminator.
        optimizer: AdamW settings; its schedule runs over the steps that the discriminator trains.
        steps: of the whole run.
        accelerator: device and ranks.
    """

    def __init__(
        self,
        config: AdversarialConfig,
        network: DiscriminatorConfig,
        optimizer: OptimizerConfig,
        *,
        steps: int,
        accelerator: Accelerator,
    ) -> None:
        self.config, self.schedule, self.steps, self.accelerator = config, optimizer, steps, accelerator
        self.discriminator = Discriminator(network).to(accelerator.device)
        self.objective = AdversarialObjective(config).to(accelerator.device)
        self.network = accelerator.prepare(self.discriminator)
        self.optimizer = AdamW(
            self.discriminator.parameters(),
            lr=optimizer.lr,
            betas=optimizer.betas,
            weight_decay=optimizer.weight_decay,
            fused=True,
        )

    def generator_term(
        self,
        images: Float[Tensor, "b 3 h w"],
        terms: dict[str, Float[Tensor, ""]],
        *,
        step: int,
        last_layer: Tensor,
    ) -> dict[str, Float[Tensor, ""]]:
        """The weighted GAN term beside the tokenizer's other ``terms``; no term before it counts."""
        if not self.config.counts_in_generator(step):
            return {}
        loss = self.objective.generator_loss(self.network, images)
        weight = self.objective.generator_weight(total(terms), loss, last_layer=last_layer)
        return {"adversarial": loss * weight}

    def accumulate(
        self,
        reals: Float[Tensor, "b 3 h w"],
        fakes: Float[Tensor, "b 3 h w"],
        *,
        step: int,
        share: float,
        last: bool,
    ) -> dict[str, Float[Tensor, ""]]:
        """Add a micro-batch to the discriminator's gradient; returns its weighted terms."""
        if not self.config.trains_discriminator(step):
            return {}
        with nullcontext() if last else self.accelerator.no_sync(self.network):
            terms = self.objective.discriminator_terms(self.network, reals, fakes.detach(), step=step)
            self.accelerator.backward(sum(terms.values()) * share)
        return terms

    def gradient_norms(self, *, step: int) -> dict[str, Float[Tensor, ""]]:
        """Clip the gradient; its norm before that is zero while the discriminator does not train."""
        norm = torch.zeros((), device=self.accelerator.device)
        if self.config.trains_discriminator(step):
            clip_norm = self.schedule.clip_norm
            norm = torch.as_tensor(
                self.accelerator.clip_grad_norm_(self.discriminator.parameters(), clip_norm)
            )
        return {"discriminator_grad_norm": norm}

    def step(self, *, step: int) -> None:
        """Move the discriminator by the accumulated gradient."""
        if not self.config.trains_discriminator(step):
            return
        own_step, own_steps = step - self.config.start_step, self.steps - self.config.start_step
        set_learning_rate([self.optimizer], learning_rate(self.schedule, step=own_step, steps=own_steps))
        self.optimizer.step()

    def zero_grad(self) -> None:
        """Forget the accumulated gradient."""
        self.discriminator.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Discriminator, LeCam anchors and optimizer."""
        return {
            "discriminator": self.discriminator.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from saved state."""
        self.discriminator.load_state_dict(state["discriminator"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])


def build_discriminator(run: TokenizerRun, accelerator: Accelerator) -> NoDiscriminator:
    """The discriminator with its optimizer, or its stand-in without GAN terms."""
    if run.adversarial is None:
        return NoDiscriminator()
    widths = run.discriminator or DiscriminatorConfig.for_resolution(run.model.image_size)
    optimizer = run.discriminator_optimizer
    return DiscriminatorTraining(run.adversarial, widths, optimizer, steps=run.steps, accelerator=accelerator)
