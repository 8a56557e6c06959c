"""Settings of a run that contradict each other are refused by name."""

from dataclasses import replace

import pytest

from textok.objectives.adversarial import AdversarialConfig
from textok.objectives.discriminator import DiscriminatorConfig
from textok.recipes.tokenizers import toy


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
