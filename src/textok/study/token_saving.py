"""How many tokens captions save: where the curve without text reaches the quality with text."""

import itertools
import math
from collections.abc import Mapping


def matching_budget(curve: Mapping[int, float], quality: float) -> float | None:
    """The budget at which a curve reaches a quality, by linear interpolation over log2 of the budget.

    Args:
        curve: budget -> quality, where more tokens are better or worse throughout; at least 2 budgets.
        quality: what to reach.

    Returns:
        The budget, or None when the quality lies outside the curve.
    """
    budgets = sorted(curve)
    for low, high in itertools.pairwise(budgets):
        a, b = curve[low], curve[high]
        if a == b or not min(a, b) <= quality <= max(a, b):
            continue
        share = (quality - a) / (b - a)
        return 2 ** (math.log2(low) + share * (math.log2(high) - math.log2(low)))
    return None


def token_saving(with_text: Mapping[int, float], without: Mapping[int, float]) -> dict[int, float | None]:
    """Budget k -> tokens without text for the quality of k tokens with text, over k; None beyond the curve."""
    found = {k: matching_budget(without, quality) for k, quality in with_text.items()}
    return {k: None if budget is None else budget / k for k, budget in found.items()}
