"""Settings of a run that contradict each other are refused by name."""

from dataclasses import replace

import pytest

from textok.objectives.adversarial import AdversarialConfig
from textok.objectives.discriminator import DiscriminatorConfig
from textok.recipes.tokenizers import toy


def test_a_critic_without_a_gan_loss_is_refused() -> None:
    run = toy()
    slower = replace(run.critic_optimizer, lr=1e-5)
    with pytest.raises(ValueError, match=r"discriminator:"):
        replace(run, discriminator=DiscriminatorConfig.small(32))
    with pytest.raises(ValueError, match=r"critic_optimizer:"):
        replace(run, critic_optimizer=slower)
    gan = AdversarialConfig()
    run = replace(run, adversarial=gan, discriminator=DiscriminatorConfig.small(32), critic_optimizer=slower)
    assert run.critic_optimizer.lr == 1e-5
