"""Settings of a run that contradict each other are refused by name."""

from dataclasses import replace

import pytest

from textok.objectives.adversarial import AdversarialConfig
from textok.objectives.discriminator import DiscriminatorConfig
from textok.recipes.tokenizers import toy
from textok.training.generator.config import GeneratorRun
from textok.training.run import BudgetDraw


def test_a_discriminator_without_a_gan_loss_is_refused() -> None:
    run = toy()
    slower = replace(run.discriminator_optimizer, lr=1e-5)
    with pytest.raises(ValueError, match=r"discriminator:"):
        replace(run, discriminator=DiscriminatorConfig.small(32))
    with pytest.raises(ValueError, match=r"discriminator_optimizer:"):
        replace(run, discriminator_optimizer=slower)
    gan = AdversarialConfig()
    run = replace(
        run, adversarial=gan, discriminator=DiscriminatorConfig.small(32), discriminator_optimizer=slower
    )
    assert run.discriminator_optimizer.lr == 1e-5


def test_pictures_without_latents_need_a_decoder_that_reads_captions() -> None:
    run, draw = toy(), BudgetDraw(empty_share=0.2)
    assert replace(run, budgets=draw).budgets.empty_share == 0.2
    for placement in ("encoder", "none"):
        with pytest.raises(ValueError, match=r"budgets\.empty_share: got 0\.2 with model\.placement"):
            replace(run, budgets=draw, model=replace(run.model, placement=placement))
        with pytest.raises(ValueError, match=r"words_first: got 0\.4 with model\.placement"):
            replace(run, words_first=0.4, model=replace(run.model, placement=placement))
    with pytest.raises(ValueError, match=r"budgets\.empty_share: got 0\.2 for a generator"):
        GeneratorRun(latents="unused", budgets=draw)
