"""A finished arm with its scores, and which of them the study's tables tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from research.captions.arms import Arm
from research.tables import Curve, curve
from textok.evaluation.results import Result

FD, PERCEPTUAL = "fd_effnet_lite2", "perceptual_effnet_lite2"
AGREEMENT = "posterior_agreement_effnet_lite2"
TWO_TOWER, CLASS_POSTERIOR = "retrieval_two_tower_r1", "retrieval_class_posterior_r1"
RETRIEVALS = (TWO_TOWER, CLASS_POSTERIOR)
METRICS = {
    "psnr": "{:.2f}",
    PERCEPTUAL: "{:.3f}",
    FD: "{:.0f}",
    TWO_TOWER: "{:.3f}",
    CLASS_POSTERIOR: "{:.3f}",
    AGREEMENT: "{:.3f}",
}
LOWER_IS_BETTER = (FD, PERCEPTUAL)
HEADS = {
    "psnr": "PSNR ↑",
    PERCEPTUAL: "perceptual ↓",
    FD: "Fréchet ↓",
    TWO_TOWER: "retrieval ↑",
    CLASS_POSTERIOR: "retrieval ↑",
    AGREEMENT: "agreement ↑",
}
"""Names of the metrics where they stand side by side."""

SETS = ("test-drawing", "test-concept", "photos")


def metrics_of(split: str) -> tuple[str, ...]:
    """What is told of a set: the head that was trained on drawings does not judge photographs."""
    other = TWO_TOWER if split == "photos" else CLASS_POSTERIOR
    return tuple(name for name in METRICS if name != other)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A finished arm with its scores."""

    arm: Arm
    result: Result

    @property
    def captions(self) -> str:
        """The condition an arm is judged under: the right caption where it reads captions."""
        return "none" if self.arm.run.model.placement == "none" else "right"

    def curve(self, metric: str, *, split: str, captions: str | None = None) -> Curve:
        """One metric over budgets."""
        return curve(self.result.rows, metric, split=split, captions=captions or self.captions)


def measured(groups: Mapping[str, Sequence[Scored]], *, split: str) -> list[str]:
    """The metrics that every arm has for a set: small sets have no Fréchet distance."""
    return [
        name
        for name in metrics_of(split)
        if all(arm.curve(name, split=split) for arms in groups.values() for arm in arms)
    ]


def chance(scored: Scored, *, split: str) -> float:
    """What retrieval finds by guessing: one caption of as many as there are pictures."""
    return 1 / next(int(row["count"]) for row in scored.result.rows if row["split"] == split)


def of_originals(result: Result, metric: str, *, split: str) -> float | None:
    """A retrieval of the originals themselves, the most that reconstructions can hope for."""
    found = (row.get(f"{metric}_original") for row in result.rows if row["split"] == split)
    return next((float(value) for value in found if value is not None), None)
