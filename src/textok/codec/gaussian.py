"""Tables of a Gaussian cut into steps, computed with integers and correctly rounded decimals only.

``math.erf`` and ``numpy.exp`` differ in the last bit between machines, which an entropy coder does not forgive;
the exponential of the ``decimal`` module is correctly rounded everywhere.
"""

from decimal import Context, Decimal
from functools import cache, lru_cache

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from textok.codec.entropy import Table, table_of

UNIT = 4096
"""All lengths here and in probability models are integers in 1/4096 of the latents' unit scale."""
PHASES = 16
RESOLUTION = 512  # points a standard deviation
REACH = 6  # standard deviations that have symbols of their own
MAX_RADIUS = 4096
_FINE = 1 << 18
_ESCAPES = 1 << 16  # one integer in so many is expected outside


@cache
def _mass() -> Int[ndarray, "n"]:
    """Cumulative Gaussian mass from -(REACH + 2) deviations on, in equal small steps; integers."""
    context, edge = Context(prec=25), (REACH + 2) * RESOLUTION
    scale = Decimal(2 * RESOLUTION * RESOLUTION)
    half = [int(context.exp(-(Decimal(i * i) / scale)) * _FINE) for i in range(edge + 1)]
    return np.cumsum(np.array(half[:0:-1] + half, dtype=np.int64))


def radius(deviation: int, step: int) -> int:
    """How many steps to each side have symbols of their own.

    Raises:
        ValueError: when they are too many: the step is too small.
    """
    steps = -(-REACH * deviation // step) + 1
    if steps > MAX_RADIUS:
        raise ValueError(f"step: {step / UNIT:.2g} of a unit is too small; take a larger one")
    return steps


@lru_cache(maxsize=1 << 14)
def gaussian_table(deviation: int, step: int, phase: int) -> Table:
    """Table of how many steps a Gaussian value lies from the step next to its mean.

    Args:
        deviation: standard deviation, in 1/4096.
        step: in 1/4096.
        phase: where the mean lies within its step, 0 to PHASES - 1 from its lower edge to its upper one.
    """
    reach = radius(deviation, step)
    # Edges of the bins, less the mean, in 1/(2 PHASES) of a step: the mean is in the middle of its phase.
    edges = (2 * np.arange(-reach, reach + 2) - 1) * PHASES - (2 * phase + 1 - PHASES)
    points = edges * (step * RESOLUTION) // (2 * PHASES * deviation)
    mass = _mass()
    middle = len(mass) // 2
    weights = np.diff(mass[np.clip(points + middle, 0, len(mass) - 1)])
    escape = max(1, int(weights.sum()) // _ESCAPES)
    return table_of(np.append(weights, escape), low=-reach, escape=True)
