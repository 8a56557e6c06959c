"""The continuous bottlenecks, and what all of them share."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from textok.models.bottleneck import AEConfig, BottleneckConfig, FSQConfig, KLConfig, NormConfig, VQConfig

CONTINUOUS = [AEConfig(), KLConfig(), NormConfig()]
BOTTLENECKS = [*CONTINUOUS, FSQConfig(levels=(8, 5, 5)), VQConfig(codebook_size=64, latent_dim=4)]


def kind_of(config: object) -> str:
    return getattr(config, "kind", str(config))


def states_for(config: BottleneckConfig, *, tokens: int = 6, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, tokens, config.build().input_dim, generator=generator) * scale


@pytest.mark.parametrize("config", BOTTLENECKS, ids=kind_of)
@pytest.mark.parametrize("training", [True, False])
def test_absent_tokens_do_not_count(config: BottleneckConfig, *, training: bool) -> None:
    torch.manual_seed(100)  # not the seed of the states
    bottleneck = config.build().train(training)
    states = states_for(config)
    present = torch.arange(6)[None] < torch.tensor([2, 6, 3])[:, None]
    changed = torch.where(present[..., None], states, -5 * states + 3).requires_grad_()
    twin = config.build().train(training)
    twin.load_state_dict(bottleneck.state_dict())
    one = bottleneck(states, mask=present, generator=torch.Generator().manual_seed(1))
    other = twin(changed, mask=present, generator=torch.Generator().manual_seed(1))
    assert_close(one.loss, other.loss)
    assert one.statistics.keys() == other.statistics.keys()
    for key, value in one.statistics.items():
        assert_close(value, other.statistics[key])
    for key, value in bottleneck.state_dict().items():  # what vq moved, too
        assert_close(value, twin.state_dict()[key])
    if config.kind in ("kl", "vq"):
        other.loss.backward()
        assert torch.equal(changed.grad[~present], torch.zeros_like(changed.grad[~present]))
        assert bool((changed.grad[present] != 0).any(-1).all())


@pytest.mark.parametrize("config", BOTTLENECKS, ids=kind_of)
@pytest.mark.parametrize("training", [True, False])
def test_the_maths_is_in_fp32_under_autocast(config: BottleneckConfig, *, training: bool) -> None:
    torch.manual_seed(100)  # not the seed of the states
    bottleneck = config.build().train(training)
    states = states_for(config, tokens=40)
    twin = config.build().train(training)
    twin.load_state_dict(bottleneck.state_dict())
    plain = bottleneck(states, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        cast = twin(states, generator=torch.Generator().manual_seed(1))
    assert cast.latents.dtype == cast.loss.dtype == torch.float32
    assert torch.equal(cast.latents, plain.latents)
    assert torch.equal(cast.loss, plain.loss)
    assert bottleneck(states.bfloat16()).latents.dtype == torch.float32


@pytest.mark.parametrize("config", BOTTLENECKS, ids=kind_of)
def test_evaluation_is_deterministic_and_changes_nothing(config: BottleneckConfig) -> None:
    bottleneck, states = config.build().eval(), states_for(config)
    before = {key: value.clone() for key, value in bottleneck.state_dict().items()}
    first, second = bottleneck(states), bottleneck(states)
    assert torch.equal(first.latents, second.latents)
    assert all(torch.equal(value, before[key]) for key, value in bottleneck.state_dict().items())
    assert first.latents.shape == (3, 6, bottleneck.latent_dim)
    assert (first.codes is None) == (bottleneck.num_codes is None)


@pytest.mark.parametrize("config", CONTINUOUS, ids=kind_of)
def test_continuous_bottlenecks_have_no_codes(config: BottleneckConfig) -> None:
    with pytest.raises(ValueError, match=r"tokens: got integer codes"):
        config.build().latents_of(torch.zeros(1, 2, dtype=torch.long))


def test_plain_latents_are_the_states() -> None:
    states = states_for(AEConfig())
    bottled = AEConfig().build()(states)
    assert torch.equal(bottled.latents, states)
    assert bottled.loss == 0


# --- kl -------------------------------------------------------------------------------------------------


def test_kl_is_that_of_torch_distributions() -> None:
    config = KLConfig(latent_dim=5, weight=0.3, initial_log_variance=-1.5)
    states = states_for(config)
    bottled = config.build()(states)
    mean, log_variance = states[..., :5], states[..., 5:] - 1.5
    posterior = Normal(mean, (0.5 * log_variance).exp())
    nats = kl_divergence(posterior, Normal(torch.zeros(5), torch.ones(5)))
    assert_close(bottled.loss, 0.3 * nats.mean())
    assert_close(bottled.statistics["kl_nats_per_channel"], nats.mean())
    assert_close(bottled.log_variance, log_variance)


def test_kl_samples_in_training_and_takes_the_mean_in_evaluation() -> None:
    config = KLConfig(latent_dim=2, initial_log_variance=-1.0)
    bottleneck = config.build()
    states = torch.tensor([[[0.5, -2.0, 0.3, 1.0]]]).expand(20_000, 1, 4)
    assert torch.equal(bottleneck.eval()(states).latents, states[..., :2])
    draw = bottleneck.train()(states, generator=torch.Generator().manual_seed(0)).latents[:, 0]
    again = bottleneck(states, generator=torch.Generator().manual_seed(0)).latents[:, 0]
    assert torch.equal(draw, again)
    assert_close(draw.mean(0), torch.tensor([0.5, -2.0]), rtol=0, atol=0.03)
    assert_close(draw.std(0), torch.tensor([-0.7, 0.0]).mul(0.5).exp(), rtol=0.03, atol=0)


def test_kl_starts_almost_without_noise_and_survives_extreme_states() -> None:
    bottleneck = KLConfig(latent_dim=4).build().train()
    calm = bottleneck(torch.zeros(2, 3, 8), generator=torch.Generator().manual_seed(0))
    assert float(calm.latents.abs().max()) < 0.3
    wild = bottleneck(torch.tensor([[[1e3] * 4 + [1e4] * 4, [-1e3] * 4 + [-1e4] * 4]]))
    assert bool(wild.latents.isfinite().all()) and bool(wild.loss.isfinite())


def test_kl_gradient_reaches_mean_and_variance() -> None:
    states = states_for(KLConfig(latent_dim=3)).requires_grad_()
    KLConfig(latent_dim=3, weight=1.0).build()(states).loss.backward()
    assert_close(states.grad[..., :3], states.detach()[..., :3] / (3 * 6 * 3))  # d/dm m^2/2, averaged
    assert bool((states.grad[..., 3:] < 0).all())  # variance below one wants to grow


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AEConfig(latent_dim=0), "bottleneck.latent_dim: got 0"),
        (lambda: KLConfig(latent_dim=0), "bottleneck.latent_dim: got 0"),
        (lambda: KLConfig(weight=-1.0), "bottleneck.weight: got -1.0"),
        (lambda: FSQConfig(levels=()), r"bottleneck.levels: got \(\)"),
        (lambda: FSQConfig(levels=(8, 2)), r"bottleneck.levels: got \(8, 2\), expected .* from 3 to 1000"),
        (lambda: FSQConfig(levels=(1001,)), r"bottleneck.levels: got \(1001,\)"),
        (lambda: FSQConfig(levels=(900, 900, 900)), "over 2\\^24 codes"),
        (lambda: VQConfig(codebook_size=1), "codebook_size: got 1"),
        (lambda: VQConfig(usage_decay=1.0), "bottleneck.usage_decay: got 1.0"),
        (lambda: VQConfig(commitment=-0.1), "commitment: got -0.1"),
    ],
)
def test_bad_settings_are_named(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_normalised_latents_have_unit_variance_and_noise_in_training() -> None:
    bottleneck, states = NormConfig(latent_dim=8, noise=0.5).build(), 3 + 7 * torch.randn(200, 5, 8)
    latents = bottleneck.eval()(states).latents
    assert_close(latents.mean(-1), torch.zeros(200, 5), rtol=0, atol=1e-5)
    assert_close(latents.var(-1, unbiased=False), torch.ones(200, 5), rtol=0, atol=1e-3)
    noise = bottleneck.train()(states, generator=torch.Generator().manual_seed(0)).latents - latents
    assert float(noise.std()) == pytest.approx(0.5, rel=0.03)
