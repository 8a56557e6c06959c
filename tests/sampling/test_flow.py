"""Rectified flow: the line, its samplers against exact solutions and diffusers', guidance."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from textok.sampling.flow import (
    FlowConfig,
    Guidance,
    add_noise,
    draw_mixed_times,
    draw_times,
    sample,
    shift_times,
    time_grid,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian_velocity(mean: float, std: float):
    """The exact velocity of a flow whose data is N(mean, std^2)."""

    def predict(x: Tensor, time: float) -> Tensor:
        scale = (1 - time) ** 2 * std**2 + time**2
        centred = x - (1 - time) * mean
        data = mean + (1 - time) * std**2 / scale * centred
        noise = time / scale * centred
        return noise - data

    return predict


def test_the_line_ends_at_data_and_noise() -> None:
    data, noise = torch.randn(3, 4, 2), torch.randn(3, 4, 2)
    assert torch.equal(add_noise(data, noise, torch.zeros(3)), data)
    assert torch.equal(add_noise(data, noise, torch.ones(3)), noise)


def test_one_euler_step_of_a_true_line_is_exact() -> None:
    data, noise = torch.randn(2, 4, 2), torch.randn(2, 4, 2)
    for steps in (1, 7):
        found = sample(lambda x, t: noise - data, noise, time_grid(steps))
        assert torch.allclose(found, data, atol=1e-5)


@pytest.mark.parametrize(
    ("sampler", "tolerance"), [("euler", 0.05), ("heun", 0.02), ("adams", 0.02), ("stochastic", 0.05)]
)
def test_samplers_reach_a_known_distribution(sampler: str, tolerance: float) -> None:
    noise = torch.randn(20_000, 1, 1, generator=seeded())
    made = sample(gaussian_velocity(2.0, 0.5), noise, time_grid(100), sampler=sampler, generator=seeded(1))
    assert abs(float(made.mean()) - 2.0) < tolerance
    assert abs(float(made.std()) - 0.5) < tolerance


def test_heun_is_more_exact_than_euler_at_equal_steps() -> None:
    noise = torch.linspace(-2, 2, 50)[:, None, None]
    exact = 2.0 + 0.5 * noise
    predict = gaussian_velocity(2.0, 0.5)
    errors = [
        float((sample(predict, noise, time_grid(8), sampler=s) - exact).abs().max())
        for s in ("euler", "heun")
    ]
    assert errors[1] < errors[0] / 3


def test_adams_is_exact_on_a_line_and_lands_on_an_estimate() -> None:
    data, noise = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    times = time_grid(5, power=2.0)
    assert torch.allclose(sample(lambda x, t: noise - data, noise, times, sampler="adams"), data, atol=1e-5)
    toward = sample(
        lambda x, t: (x - data) / t, noise, times, sampler="adams"
    )  # a network that is sure of the data
    assert torch.allclose(toward, data, atol=1e-5)


def test_adams_is_of_second_order_and_calls_once_per_step() -> None:
    noise = torch.linspace(-2, 2, 50)[:, None, None]
    exact, velocity, calls = 2.0 + 0.5 * noise, gaussian_velocity(2.0, 0.5), []

    def predict(x: Tensor, time: float) -> Tensor:
        calls.append(time)
        return velocity(x, time)

    errors = [
        float((sample(predict, noise, time_grid(n), sampler="adams") - exact).abs().max()) for n in (16, 32)
    ]
    assert len(calls) == 16 + 32
    assert errors[1] < errors[0] / 3  # a method of first order would halve it
    assert errors[0] < float((sample(velocity, noise, time_grid(16)) - exact).abs().max()) / 2


def test_a_power_above_one_moves_times_to_the_data() -> None:
    assert time_grid(4, power=2.0) == pytest.approx([1, 0.5625, 0.25, 0.0625, 0])
    assert time_grid(2, start=0.4) == pytest.approx([0.4, 0.2, 0])


def test_an_unknown_sampler_is_named() -> None:
    with pytest.raises(ValueError, match="sampler: got 'magic'"):
        sample(lambda x, t: x, torch.zeros(1, 1, 1), [1.0, 0.0], sampler="magic", generator=seeded())


def test_stochastic_sampling_depends_on_its_generator_only() -> None:
    noise, predict = torch.randn(4, 2, 2), gaussian_velocity(0.0, 1.0)
    runs = [
        sample(predict, noise, time_grid(5), sampler="stochastic", generator=seeded(s)) for s in (0, 0, 1)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.allclose(runs[0], runs[2])


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_euler_agrees_with_diffusers(shift: float) -> None:
    steps, noise = 10, torch.randn(2, 4, 3)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    times = time_grid(steps, shift=shift)
    scheduler.set_timesteps(sigmas=times[:-1])
    predict = gaussian_velocity(1.0, 0.3)
    theirs = noise
    for step, sigma in zip(scheduler.timesteps, times, strict=False):
        theirs = scheduler.step(predict(theirs, sigma), step, theirs).prev_sample
    assert torch.allclose(sample(predict, noise, times), theirs, atol=1e-5)


def test_time_grids_run_from_noise_to_data() -> None:
    grid = time_grid(7, shift=2.5)
    assert grid[0] == 1 and grid[-1] == 0 and len(grid) == 8
    assert grid == sorted(grid, reverse=True)
    with pytest.raises(ValueError, match="steps"):
        time_grid(0)


def test_a_shift_above_one_moves_times_to_the_noise() -> None:
    times = torch.linspace(0.1, 0.9, 9)
    assert bool((shift_times(times, 3.0) > times).all())
    assert torch.equal(shift_times(times, 1.0), times)


def test_training_times_follow_the_config() -> None:
    uniform = draw_times(FlowConfig(time_std=0.0), 10_000, generator=seeded())
    middle = draw_times(FlowConfig(), 10_000, generator=seeded())
    late = draw_times(FlowConfig(time_mean=1.0), 10_000, generator=seeded())
    assert abs(float(uniform.mean()) - 0.5) < 0.02 and abs(float(uniform.std()) - 0.289) < 0.02
    assert float(middle.std()) < float(uniform.std())
    assert float(late.mean()) > 0.6
    assert float(late.min()) > 0 and float(late.max()) < 1


@pytest.mark.parametrize("batch", [20, 200])
def test_every_batch_has_its_shares(batch: int) -> None:
    settings = {
        "direct_share": 0.25,
        "uniform_share": 0.15,
        "mean": 0.4,
        "std": 0.9,
        "device": torch.device("cpu"),
    }
    times, is_direct = draw_mixed_times(batch, **settings, generator=seeded())
    assert int(is_direct.sum()) == batch // 4
    assert int((times[~is_direct] == 1).sum()) == pytest.approx(0.05 * batch, abs=1)
    assert bool(((times > 0) & (times <= 1)).all())
    again, _ = draw_mixed_times(batch, **settings, generator=seeded())
    assert torch.equal(times, again)


def test_the_times_of_a_mixture_follow_their_distributions() -> None:
    drawn = {"generator": seeded(), "device": torch.device("cpu")}
    times, _ = draw_mixed_times(4000, direct_share=0.0, uniform_share=0.0, mean=0.4, std=0.9, **drawn)
    normal = torch.logit(times.double())
    assert float(normal.mean()) == pytest.approx(0.4, abs=0.01)
    assert float(normal.std()) == pytest.approx(0.9, abs=0.01)
    drawn = {"generator": seeded(), "device": torch.device("cpu")}
    times, _ = draw_mixed_times(3000, direct_share=0.0, uniform_share=1.0, mean=0.0, std=1.0, **drawn)
    below = times[times < 1]
    assert len(below) == 2000 and float(below.mean()) == pytest.approx(0.5, abs=0.01)


def test_guidance_acts_within_its_interval() -> None:
    guidance = Guidance(scale=2.0, interval=(0.2, 0.8))
    assert [guidance.acts(t) for t in (1.0, 0.8, 0.5, 0.1)] == [False, True, True, False]
    assert not Guidance(scale=1.0).acts(0.5)
    a, b = torch.ones(1, 1, 1), torch.zeros(1, 1, 1)
    assert float(guidance.combine(a, b)) == 2.0


@pytest.mark.parametrize("interval", [(0.5, 0.5), (-0.1, 1.0), (0.0, 1.1)])
def test_a_bad_interval_is_refused(interval: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="interval"):
        Guidance(scale=2.0, interval=interval)
