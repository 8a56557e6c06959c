"""Rectified flow (Liu et al. 2022, arXiv 2209.03003): noise and data are the ends of a straight line.

x_t = (1 - t) * data + t * noise, and the network predicts the velocity noise - data. Sampling goes from t = 1 to
t = 0. Samplers are functions of a callable, so that any network, guided or not, can be sampled.

Axes: b batch, k latent tokens, c latent channels, n steps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from textok.checks import check
from textok.sampling.random import Random, normal

State = Float[Tensor, "b ..."]
"""Latents (b, k, c) or pictures (b, 3, h, w)."""
Predict = Callable[[State, float], State]
"""(noisy state, time in [0, 1]) -> velocity."""
Advance = Callable[[State, float, float], State]
"""(state, time now, time after) -> the state then."""
OnStep = Callable[[int], object]


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """How training draws times (Esser et al. 2024, arXiv 2403.03206, section 3).

    Attributes:
        time_mean, time_std: of the normal whose sigmoid is the time; uniform times when the std is 0.
        time_shift: above 1 moves times towards the noise, as few-token latents may want; 1 leaves them.
    """

    time_mean: float = 0.0
    time_std: float = 1.0
    time_shift: float = 1.0

    def __post_init__(self) -> None:
        check(self, "flow", "time_std", at_least=0)
        check(self, "flow", "time_shift", above=0)


def draw_times(config: FlowConfig, batch: int, *, generator: torch.Generator) -> Float[Tensor, "b"]:
    """Training times in (0, 1)."""
    if config.time_std == 0:
        times = torch.rand(batch, generator=generator)
    else:
        normal = torch.randn(batch, generator=generator)
        times = torch.sigmoid(config.time_mean + config.time_std * normal)
    return shift_times(times, config.time_shift)


def draw_mixed_times(
    batch: int,
    *,
    direct_share: float,
    uniform_share: float,
    mean: float,
    std: float,
    generator: torch.Generator | None,
    device: torch.device,
) -> tuple[Float[Tensor, "b"], Bool[Tensor, "b"]]:
    """Times in (0, 1] of each row, and which rows are direct; stratified, so that every batch has its shares.

    Direct rows see no noise, and their times mean nothing. A third of the uniform rows is at time 1, pure noise. The
    rest has the sigmoid of a normal as its time.
    """
    order = torch.randperm(batch, generator=generator, device=device)
    quantile = (order + torch.rand(batch, generator=generator, device=device)) / batch
    place = ((quantile - direct_share) / max(uniform_share, 1e-6)).clamp(0, 1)
    uniform = torch.where(place < 1 / 3, 1.0, (1.5 * place - 0.5).clamp(min=1e-3))
    high = direct_share + uniform_share
    rest = ((quantile - high) / max(1 - high, 1e-6)).clamp(1e-4, 1 - 1e-4)
    times = torch.where(quantile < high, uniform, torch.sigmoid(mean + std * torch.special.ndtri(rest)))
    return times, quantile < direct_share


def shift_times(times: Float[Tensor, "n"], shift: float) -> Float[Tensor, "n"]:
    """Move times towards 1 (shift above 1) or 0, keeping both ends."""
    return shift * times / (1 + (shift - 1) * times)


def add_noise(data: State, noise: State, time: Float[Tensor, "b"]) -> State:
    """The point at ``time`` on the line from data to noise."""
    t = time.reshape(-1, *[1] * (data.dim() - 1))
    return (1 - t) * data + t * noise


def velocity_target(data: State, noise: State) -> State:
    """What the network learns: the direction of the line."""
    return noise - data


def time_grid(steps: int, *, shift: float = 1.0, power: float = 1.0, start: float = 1.0) -> list[float]:
    """``steps + 1`` times from ``start`` (1 is pure noise) to 0; ``ValueError`` for less than one step.

    A shift above 1 spends more steps near the noise, a power above 1 more near the data: (1 - i / steps) ** power.
    """
    if steps < 1:
        raise ValueError(f"steps: got {steps}, expected at least 1")
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** power * start
    return shift_times(times, shift).tolist()


# --- samplers -------------------------------------------------------------------------------------------


def euler(predict: Predict, random: Random | None) -> Advance:
    """Straight steps: one evaluation each; nothing is drawn."""
    return lambda x, now, after: x + (after - now) * predict(x, now)


def heun(predict: Predict, random: Random | None) -> Advance:
    """Second order: the mean of the slopes at both ends of a step; two evaluations each, but for the last."""

    def advance(x: State, now: float, after: float) -> State:
        slope = predict(x, now)
        ahead = x + (after - now) * slope
        return ahead if after == 0 else x + (after - now) * (slope + predict(ahead, after)) / 2

    return advance


def adams(predict: Predict, random: Random | None) -> Advance:
    """Second-order Adams-Bashforth: the slope is extrapolated from the one before; one evaluation each.

    The first step and the one that ends at the data are straight: an estimate of the data is then met exactly.
    """
    before, width_before = None, 0.0

    def advance(x: State, now: float, after: float) -> State:
        nonlocal before, width_before
        width, slope = after - now, predict(x, now)
        change = 0.0 if before is None or after == 0 else width / (2 * width_before) * (slope - before)
        before, width_before = slope, width
        return x + width * (slope + change)

    return advance


def stochastic(predict: Predict, random: Random | None) -> Advance:
    """Euler-Maruyama on the reverse equation with the same marginals and diffusion t (SiT, arXiv 2401.08740).

    The score of the line is -(expected noise) / t, and the expected noise is x + (1 - t) * velocity. The last
    step is a plain one.
    """
    if random is None:
        raise ValueError("generator: got none, expected one for the stochastic sampler")

    def advance(x: State, now: float, after: float) -> State:
        velocity, step = predict(x, now), now - after
        if after == 0:
            return x - now * velocity
        expected_noise = x + (1 - now) * velocity
        fresh = normal(x.shape, random, device=x.device)
        return x - step * (velocity + expected_noise / 2) + (now * step) ** 0.5 * fresh

    return advance


SAMPLERS = {"euler": euler, "heun": heun, "adams": adams, "stochastic": stochastic}
"""From a network and random numbers, which only the stochastic one draws, to what makes a step."""


def sample(
    predict: Predict,
    noise: State,
    times: list[float],
    *,
    sampler: str = "euler",
    generator: Random | None = None,
    on_step: OnStep | None = None,
) -> State:
    """Walk from noise along ``times``; ``ValueError`` for an unknown sampler."""
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler: got {sampler!r}, expected one of {', '.join(SAMPLERS)}")
    x, advance = noise, SAMPLERS[sampler](predict, generator)
    for index, (now, after) in enumerate(pairwise(times)):
        x = advance(x, now, after)
        if on_step is not None:
            on_step(index + 1)
    return x


# --- guidance -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """Classifier-free guidance (Ho & Salimans 2022), on an interval of times (Kynkaanniemi et al. 2024).

    At scale 1 it is the plain conditional prediction, above 1 it moves away from the unconditional one, which is not
    computed outside of the interval.
    """

    scale: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        low, high = self.interval
        if not 0 <= low < high <= 1:
            raise ValueError(f"guidance interval: got {self.interval}, expected 0 <= low < high <= 1")
        if not 0 <= self.scale < math.inf:
            raise ValueError(f"guidance: got {self.scale}, expected a number, 0 or more")

    def acts(self, time: float) -> bool:
        """Whether the unconditional prediction is needed at this time."""
        low, high = self.interval
        return self.scale != 1 and low <= time <= high

    def combine(self, conditional: State, unconditional: State) -> State:
        """The guided prediction."""
        return unconditional + self.scale * (conditional - unconditional)
