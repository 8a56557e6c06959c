"""One training step of a tokenizer: what goes into the network, and the discriminator that judges what comes out."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim import AdamW

from textok.data.samples import Batch
from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok
from textok.objectives.adversarial import AdversarialObjective
from textok.objectives.discriminator import Discriminator, DiscriminatorConfig
from textok.pipeline.text import CachedText
from textok.pixels import to_unit
from textok.sampling.random import seeded
from textok.training.input import Stateful
from textok.training.optimizers import learning_rate, set_learning_rate
from textok.training.run import drop_rows, swap_rows
from textok.training.tokenizer.config import TokenizerRun


@dataclass(frozen=True)
class MicroBatch:
    """A part of a rank's batch: what one pass through the network needs."""

    images: Float[Tensor, "b 3 h w"]
    text: TextCondition | None
    decoder_text: TextCondition | None
    lengths: Int[Tensor, "b"] | None
    noise: torch.Generator
    share: float
    last: bool


def micro_batches(
    batch: Batch, run: TokenizerRun, reader: CachedText | None, *, step: int, rank: int, device: torch.device
) -> Iterator[MicroBatch]:
    """Cut a batch to what fits, with captions dropped and budgets drawn by the step."""
    draws = seeded(run.seed, step, f"rank {rank}")
    noise_seed = seeded(run.seed, step, f"noise of rank {rank}").initial_seed()
    noise = torch.Generator(device).manual_seed(noise_seed)
    lengths = run.budgets_at(step).lengths(len(batch), most=run.model.num_latents, generator=draws)
    dropped = drop_rows(len(batch), run.caption_dropout, generator=draws)
    captions = swap_rows(batch.captions, run.wrong_caption_share, generator=draws)
    condition = None if reader is None else reader(captions)
    dropped_by_decoder = None
    if run.decoder_caption_dropout is not None:
        dropped_by_decoder = drop_rows(len(batch), run.decoder_caption_dropout, generator=draws)
    texts = [
        None if condition is None or drops is None else condition.dropped(drops)
        for drops in (dropped, dropped_by_decoder)
    ]
    order = torch.arange(len(batch))
    if texts[0] is not None:  # captions of like length together, so that little of a micro-batch is padding
        order = texts[0].mask.sum(dim=1).argsort(stable=True)
    for rows in order.split(run.micro_batch):
        images = to_unit(batch.images[rows].to(device))
        text, decoder_text = (None if one is None else one[rows].to(device) for one in texts)
        yield MicroBatch(
            images=images,
            text=text,
            decoder_text=decoder_text,
            lengths=None if lengths is None else lengths[rows],
            noise=noise,
            share=len(images) / len(batch),
            last=bool(rows[-1] == order[-1]),
        )


def total(terms: dict[str, Float[Tensor, ""]]) -> Float[Tensor, ""]:
    """The sum of named scalars."""
    return torch.stack([term.float() for term in terms.values()]).sum()


class DiscriminatorTraining:
    """Judges reconstructions from its start step on; has no term and no state in a run without GAN terms."""

    def __init__(self, run: TokenizerRun, model: TexTok, accelerator: Accelerator) -> None:
        self.run, self.config, self.model, self.accelerator = run, run.adversarial, model, accelerator
        self.parts: dict[str, Stateful] = {}
        if run.adversarial is None:
            return
        widths, adam = run.discriminator, run.discriminator_optimizer
        widths = widths or DiscriminatorConfig.for_resolution(run.model.image_size)
        self.discriminator = Discriminator(widths).to(accelerator.device)
        self.objective = AdversarialObjective(run.adversarial).to(accelerator.device)
        self.network = accelerator.prepare(self.discriminator)
        self.optimizer = AdamW(
            self.discriminator.parameters(),
            lr=adam.lr,
            betas=adam.betas,
            weight_decay=adam.weight_decay,
            fused=True,
        )
        self.parts = {
            "discriminator": self.discriminator,
            "objective": self.objective,
            "optimizer": self.optimizer,
        }

    def generator_term(
        self, images: Float[Tensor, "b 3 h w"], terms: dict[str, Float[Tensor, ""]], *, step: int
    ) -> dict[str, Float[Tensor, ""]]:
        """The weighted GAN term beside the tokenizer's other ``terms``; no term before it counts."""
        if self.config is None or not self.config.counts_in_generator(step):
            return {}
        loss = self.objective.generator_loss(self.network, images)
        weight = self.objective.generator_weight(total(terms), loss, last_layer=self.model.last_layer)
        return {"adversarial": loss * weight}

    def accumulate(
        self, part: MicroBatch, fakes: Float[Tensor, "b 3 h w"], *, step: int
    ) -> dict[str, Float[Tensor, ""]]:
        """Add a micro-batch to the discriminator's gradient; returns its weighted terms."""
        if not self._trains(step):
            return {}
        with nullcontext() if part.last else self.accelerator.no_sync(self.network):
            terms = self.objective.discriminator_terms(self.network, part.images, fakes.detach(), step=step)
            self.accelerator.backward(sum(terms.values()) * part.share)
        return terms

    def gradient_norms(self, *, step: int) -> dict[str, Float[Tensor, ""]]:
        """Clip the gradient; its norm before that is zero while the discriminator does not train."""
        if self.config is None:
            return {}
        norm = torch.zeros((), device=self.accelerator.device)
        if self._trains(step):
            parameters, most = self.discriminator.parameters(), self.run.discriminator_optimizer.clip_norm
            norm = torch.as_tensor(self.accelerator.clip_grad_norm_(parameters, most))
        return {"discriminator_grad_norm": norm}

    def step(self, *, step: int) -> None:
        """Move the discriminator by the accumulated gradient; its schedule runs over the steps that it trains."""
        if self.config is None or not self._trains(step):
            return
        own_step, own_steps = step - self.config.start_step, self.run.steps - self.config.start_step
        rate = learning_rate(self.run.discriminator_optimizer, step=own_step, steps=own_steps)
        set_learning_rate([self.optimizer], rate)
        self.optimizer.step()

    def zero_grad(self) -> None:
        """Forget the accumulated gradient."""
        if self.config is not None:
            self.discriminator.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Discriminator, LeCam anchors and optimizer."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from saved state."""
        for name, part in self.parts.items():
            part.load_state_dict(state[name])

    def _trains(self, step: int) -> bool:
        return self.config is not None and self.config.trains_discriminator(step)
