import math

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from textok.objectives.adversarial import (
    LOSSES,
    AdversarialConfig,
    AdversarialObjective,
    adaptive_weight,
    discriminator_hinge,
    discriminator_non_saturating,
    frozen,
    generator_hinge,
    generator_non_saturating,
    r1_penalty,
)
from textok.objectives.discriminator import Discriminator, DiscriminatorConfig

TINY = DiscriminatorConfig(base=8, multipliers=(1.0, 2.0))


class MeanDiscriminator(nn.Module):
    """Linear: the weighted mean over pixels of the three channels."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))

    def forward(self, images):
        return images.mean(dim=(2, 3)) @ self.weight


def test_losses_by_hand():
    real, fake = torch.tensor([0.0, 2.0]), torch.tensor([-3.0, 0.5])

    def softplus(x):
        return math.log1p(math.exp(x))

    assert generator_non_saturating(fake).item() == pytest.approx((softplus(3) + softplus(-0.5)) / 2)
    expected = (softplus(0) + softplus(-2)) / 2 + (softplus(-3) + softplus(0.5)) / 2
    assert discriminator_non_saturating(real, fake).item() == pytest.approx(expected)
    assert generator_hinge(fake).item() == pytest.approx(1.25)
    assert discriminator_hinge(real, fake).item() == pytest.approx((1 + 0) / 2 + (0 + 1.5) / 2)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_do_not_change_when_the_batch_is_repeated(loss):
    generator, discriminator = LOSSES[loss]
    real, fake = torch.randn(4), torch.randn(4)
    torch.testing.assert_close(generator(fake.repeat(3)), generator(fake))
    torch.testing.assert_close(discriminator(real.repeat(3), fake.repeat(3)), discriminator(real, fake))


def test_r1_is_the_analytic_gradient_of_a_linear_discriminator():
    discriminator = MeanDiscriminator()
    # Gradient of a channel's pixel: weight / pixels; 256 x 256 of them; half the squared norm.
    published = 0.5 * 14 / 256**2
    penalty = r1_penalty(discriminator, torch.rand(2, 3, 256, 256))
    assert penalty.item() == pytest.approx(published)
    penalty.backward()
    torch.testing.assert_close(discriminator.weight.grad, discriminator.weight.detach() / 256**2)


def test_r1_keeps_its_meaning():
    discriminator, images = MeanDiscriminator(), torch.rand(2, 3, 32, 64)
    expected = r1_penalty(discriminator, images)
    torch.testing.assert_close(r1_penalty(discriminator, images.repeat(1, 1, 2, 2)), expected)
    torch.testing.assert_close(r1_penalty(discriminator, images.repeat(3, 1, 1, 1)), expected)


def test_lazy_r1_is_the_same_on_average():
    discriminator, reals = MeanDiscriminator(), torch.rand(2, 3, 16, 16)
    config = AdversarialConfig(start_step=5, r1_every=4)
    objective = AdversarialObjective(config)
    terms = [
        objective.discriminator_terms(discriminator, reals, -reals, step=step) for step in range(5, 5 + 12)
    ]
    given = [term["r1"].item() for term in terms if "r1" in term]
    assert len(given) == 3
    assert sum(given) / 12 == pytest.approx(config.r1_weight * r1_penalty(discriminator, reals).item())


def test_r1_stays_in_fp32_under_a_patched_forward():
    discriminator, reals = Discriminator(TINY), torch.rand(2, 3, 16, 16)
    config = AdversarialConfig(start_step=0, r1_every=1, r1_weight=1.0)
    expected = r1_penalty(discriminator, reals)
    discriminator.forward = torch.autocast("cpu", torch.bfloat16)(
        discriminator.forward
    )  # as accelerate's prepare does
    terms = AdversarialObjective(config).discriminator_terms(discriminator, reals, reals, step=0)
    assert torch.equal(terms["r1"], expected)
    assert not torch.equal(r1_penalty(discriminator, reals), expected)  # the patch does reach a plain call


def test_generator_gradients_reach_images_not_the_discriminator():
    discriminator, fakes = Discriminator(TINY), torch.rand(2, 3, 16, 16, requires_grad=True)
    AdversarialObjective(AdversarialConfig()).generator_loss(discriminator, fakes).backward()
    assert fakes.grad.abs().sum() > 0
    assert all(parameter.grad is None and parameter.requires_grad for parameter in discriminator.parameters())


def test_frozen_leaves_frozen_parameters_alone():
    discriminator = Discriminator(TINY)
    discriminator.stem.weight.requires_grad_(False)
    with frozen(discriminator):
        assert not any(parameter.requires_grad for parameter in discriminator.parameters())
    assert not discriminator.stem.weight.requires_grad and discriminator.stem.bias.requires_grad


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.slow
def test_discriminator_learns_to_tell_and_fakes_stay_detached(loss):
    discriminator = Discriminator(TINY)
    objective = AdversarialObjective(AdversarialConfig(loss=loss, start_step=0, r1_every=2))
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.0, 0.99))
    reals, fakes = torch.rand(4, 3, 16, 16), (-torch.rand(4, 3, 16, 16)).requires_grad_()
    history = []
    for step in range(12):
        terms = objective.discriminator_terms(discriminator, reals, fakes, step=step)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        history.append(terms["discriminator"].item())
    assert fakes.grad is None
    assert history[-1] < 0.5 * history[0]
    assert (discriminator(reals) > discriminator(fakes)).all()


def test_terms_that_are_turned_off_are_absent():
    objective = AdversarialObjective(AdversarialConfig(start_step=0, r1_weight=0.0, lecam_weight=0.0))
    terms = objective.discriminator_terms(
        MeanDiscriminator(), torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8), step=0
    )
    assert terms.keys() == {"discriminator"}


def test_schedule():
    config = AdversarialConfig(start_step=10, discriminator_warmup_steps=5, r1_every=4)
    assert [config.trains_discriminator(step) for step in (9, 10)] == [False, True]
    assert [config.counts_in_generator(step) for step in (14, 15)] == [False, True]
    assert [step for step in range(20) if config.computes_r1(step)] == [10, 14, 18]


def test_adaptive_weight_is_the_ratio_of_gradient_norms():
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    reconstruction, adversarial = (weight**2).sum(), 2 * weight.sum()  # norms 10 and 2 sqrt 2
    ratio = adaptive_weight(reconstruction, adversarial, last_layer=weight)
    assert ratio.item() == pytest.approx(10 / (2 * math.sqrt(2) + 1e-4)) and not ratio.requires_grad
    (reconstruction + ratio * adversarial).backward()  # both graphs are still there
    assert adaptive_weight(reconstruction.detach() + 0 * weight.sum(), weight.sum(), last_layer=weight) == 0


def test_adaptive_weight_is_clamped_and_used_when_asked_for():
    weight = torch.ones(2, requires_grad=True)
    losses = (weight**2).sum(), 1e-9 * weight.sum()
    assert adaptive_weight(*losses, last_layer=weight, maximum=100.0) == 100
    fixed, adaptive = (
        AdversarialObjective(AdversarialConfig(adaptive=adaptive)) for adaptive in (False, True)
    )
    assert fixed.generator_weight(*losses, last_layer=weight).item() == pytest.approx(0.1)
    assert adaptive.generator_weight(*losses, last_layer=weight).item() == pytest.approx(1000)


@pytest.mark.slow
def test_a_step_works_with_ddp(tmp_path):
    # In a process of its own: a process group among the threads that other tests leave behind has hung once.
    mp.spawn(_ddp_step, args=(f"file://{tmp_path}/rendezvous",), nprocs=1)


def _ddp_step(rank, rendezvous):
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=1)
    plain = Discriminator(TINY)
    wrapped = DistributedDataParallel(Discriminator(TINY))
    wrapped.module.load_state_dict(plain.state_dict())
    for discriminator in (plain, wrapped):
        objective = AdversarialObjective(AdversarialConfig(start_step=0))
        torch.manual_seed(1)
        reals, fakes = torch.rand(2, 2, 3, 16, 16)
        for step in range(2):
            objective.generator_loss(discriminator, fakes.requires_grad_()).backward()
            terms = objective.discriminator_terms(discriminator, reals, fakes, step=step)
            torch.stack(list(terms.values())).sum().backward()
    for ours, theirs in zip(plain.parameters(), wrapped.module.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("weight", -0.1, "weight: got -0.1"),
        ("start_step", -1, "start_step: got -1"),
        ("r1_every", 0, "r1_every: got 0"),
    ],
)
def test_bad_configs_are_named(key, value, message):
    config = {key: value}
    with pytest.raises(ValueError, match=message):
        AdversarialConfig(**config)


def test_unknown_loss_is_named():
    with pytest.raises(
        (ValueError, TypeError), match=r"loss.*wasserstein"
    ):  # TypeError: jaxtyping comes first
        AdversarialConfig(loss="wasserstein")
