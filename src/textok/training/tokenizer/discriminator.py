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


class Critic:
    """Judges reconstructions from its start step on; says nothing before.

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
        reconstruction: Float[Tensor, ""],
        *,
        step: int,
        last_layer: Tensor,
    ) -> dict[str, Float[Tensor, ""]]:
        """The weighted GAN term of the tokenizer's loss; nothing before the judgement counts."""
        if not self.config.counts_in_generator(step):
            return {}
        loss = self.objective.generator_loss(self.network, images)
        return {
            "adversarial": loss * self.objective.generator_weight(reconstruction, loss, last_layer=last_layer)
        }

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

    def gradient_norm(self, *, step: int) -> Float[Tensor, ""]:
        """Clip the gradient and return its norm before that; zero while the discriminator does not train."""
        if not self.config.trains_discriminator(step):
            return torch.zeros((), device=self.accelerator.device)
        norm = self.accelerator.clip_grad_norm_(self.discriminator.parameters(), self.schedule.clip_norm)
        return torch.as_tensor(norm)

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
