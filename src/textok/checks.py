"""Checks of the values in configuration classes, with one form of message: ``key: got X, expected Y``."""

from collections.abc import Sequence
from operator import ge, gt, le, lt
from typing import Any

_HOLDS = {"at_least": ge, "above": gt, "at_most": le, "below": lt}


def check(config: Any, prefix: str, *names: str, **bounds: int | float) -> None:
    """Check that the named attributes are numbers within bounds; ``ValueError`` for the first that is not.

    The bounds are ``at_least``, ``above``, ``at_most`` and ``below``. ``prefix`` is what users write before the name,
    such as "model"; it may be empty.
    """
    for name in names:
        value = getattr(config, name)
        if not all(_HOLDS[word](value, bound) for word, bound in bounds.items()):
            expected = " and ".join(f"{word.replace('_', ' ')} {bound}" for word, bound in bounds.items())
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
