"""Checks of the values in configuration classes, with one form of message: ``key: got X, expected Y``."""

from collections.abc import Sequence
from typing import Any


def check(
    config: Any,
    prefix: str,
    *names: str,
    at_least: int | float | None = None,
    above: int | float | None = None,
    at_most: int | float | None = None,
    below: int | float | None = None,
) -> None:
    """Check that the named attributes are numbers within bounds; ``ValueError`` for the first that is not.

    ``prefix`` is what users write before the name, such as "model"; it may be empty.
    """
    for name in names:
        value = getattr(config, name)
        inside = (
            (at_least is None or value >= at_least)
            and (above is None or value > above)
            and (at_most is None or value <= at_most)
            and (below is None or value < below)
        )
        if not inside:
            bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
            expected = " and ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)
            raise ValueError(f"{_key(prefix, name)}: got {value}, expected {expected}")


def check_choice(config: Any, prefix: str, **choices: Sequence[Any]) -> None:
    """Check that each named attribute is one of the values given for it; ``ValueError`` for the first that is not."""
    for name, values in choices.items():
        value = getattr(config, name)
        if value not in values:
            listed = ", ".join(map(str, values[:-1])) + f" or {values[-1]}"
            raise ValueError(f"{_key(prefix, name)}: got {value!r}, expected {listed}")


def _key(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
