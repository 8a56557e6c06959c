"""What a metric means to a reader."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Meaning:
    """What a metric says.

    Attributes:
        title: its name in words.
        unit: written on its axis.
        better: 1 when higher is better, -1 when lower is, 0 when it is a fact and not a score.
    """

    title: str
    unit: str
    better: int

    @property
    def advice(self) -> str:
        """The title, with which way is better."""
        return self.title + {1: ": higher is better", -1: ": lower is better", 0: ""}[self.better]
