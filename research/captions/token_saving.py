"""How many tokens captions save: where the curve without text reaches the quality with text."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Saving:
    """Tokens without text over tokens with text, for one quality.

    Attributes:
        factor: above 1 text saves tokens.
        bound: ">" when no budget without text reaches the quality, so that the factor is more than this one, that
            of the largest budget; "<" when the smallest is better already, so that it is less than that one.
    """

    factor: float
    bound: Literal["", ">", "<"] = ""

    def __str__(self) -> str:
        return f"{self.bound} {self.factor:.2f}".strip()


def matching_budget(curve: Mapping[int, float], quality: float) -> float | None:
    """The first budget at which a curve rises to a quality, by linear interpolation over log2 of the budget.

    Args:
        curve: budget -> quality, more is better; it may dip.
        quality: what to reach.

    Returns:
        The budget, or None when the smallest budget is better already, or none is as good.
    """
    budgets = sorted(curve)
    if curve[budgets[0]] >= quality:
        return float(budgets[0]) if curve[budgets[0]] == quality else None
    for low, high in itertools.pairwise(budgets):
        a, b = curve[low], curve[high]
        if b >= quality:  # the first one that is, so that a is worse
            share = (quality - a) / (b - a)
            return 2 ** (math.log2(low) + share * (math.log2(high) - math.log2(low)))
    return None


def token_saving(
    with_text: Mapping[int, float], without: Mapping[int, float], *, lower_is_better: bool
) -> dict[int, Saving]:
    """Budget k -> tokens without text for the quality of k tokens with text, over k; a bound beyond the curve."""
    sign = -1 if lower_is_better else 1
    rising = {k: sign * value for k, value in without.items()}
    return {k: _saving(k, sign * quality, rising) for k, quality in with_text.items()}


def _saving(k: int, quality: float, without: Mapping[int, float]) -> Saving:
    budget = matching_budget(without, quality)
    if budget is not None:
        return Saving(budget / k)
    smallest = min(without)
    return Saving(smallest / k, "<") if without[smallest] > quality else Saving(max(without) / k, ">")
